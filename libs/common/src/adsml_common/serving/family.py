"""Which family a process answers for: registry and training requests name the one they mean."""

from typing import Final

from adsml.common.v1 import answer_pb2

from adsml_common.domain.errors import InvalidInput

_PREFIX: Final = "FAMILY_"


class FamilyCheck:
    """Refuses requests that name another family than this process' (``"classifier"``)."""

    def __init__(self, family: str) -> None:
        self._family = family
        self._number = answer_pb2.Family.Value(f"{_PREFIX}{family.upper()}")

    def __call__(self, number: int) -> None:
        """Raise `InvalidInput` for the number of another family."""
        if number != self._number:
            given = answer_pb2.Family.Name(number).removeprefix(_PREFIX)  # type: ignore[arg-type]
            raise InvalidInput.at(
                "family",
                f"is {given}; this process serves {self._family.upper()}: call that family's service",
            )
