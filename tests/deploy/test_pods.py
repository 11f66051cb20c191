"""What holds for every pod of ours, whatever it does: no rights, no secrets, no surprises."""

import re

import typer
from adsml_common.cli.main import build
from support.manifests import built, of_kind, ours, overlays


@overlays
def test_it_has_no_rights_and_writes_nowhere_but_scratch(overlay: str) -> None:
    for name, _, pod in ours(overlay):
        security = pod["securityContext"]
        assert security["runAsNonRoot"] is True, name
        assert security["runAsUser"] > 10000, name
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for container in pod["containers"]:
            own = container["securityContext"]
            assert own["readOnlyRootFilesystem"] is True, name
            assert own["allowPrivilegeEscalation"] is False, name
            assert own["capabilities"] == {"drop": ["ALL"]}, name
            assert "/tmp" in {one["mountPath"] for one in container["volumeMounts"]}, name  # noqa: S108


@overlays
def test_memory_is_reserved_and_processors_are_shared(overlay: str) -> None:
    for name, _, pod in ours(overlay):
        for container in pod["containers"]:
            resources = container["resources"]
            assert resources["requests"]["memory"] == resources["limits"]["memory"], name
            assert "cpu" in resources["requests"], name
            assert "cpu" not in resources["limits"], name


@overlays
def test_the_launcher_alone_has_a_token(overlay: str) -> None:
    with_token = {name for name, _, pod in ours(overlay) if pod["automountServiceAccountToken"]}
    assert with_token == {"Deployment/launcher"}
    accounts = of_kind(overlay, "ServiceAccount")
    assert all(one["automountServiceAccountToken"] is False for one in accounts.values())
    used = {pod["serviceAccountName"] for _, _, pod in ours(overlay)}
    assert used == set(accounts)
    (binding,) = of_kind(overlay, "RoleBinding").values()
    assert [one["name"] for one in binding["subjects"]] == ["launcher"]
    (role,) = of_kind(overlay, "Role").values()
    rights = {
        (resource, verb) for rule in role["rules"] for resource in rule["resources"] for verb in rule["verbs"]
    }
    assert rights == {
        ("cronjobs", "get"), ("pods", "list"),
        *(("jobs", verb) for verb in ("create", "get", "list", "watch", "delete")),
    }  # fmt: skip


@overlays
def test_the_namespace_holds_them_to_it(overlay: str) -> None:
    (namespace,) = of_kind(overlay, "Namespace").values()
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert all(
        one["metadata"]["namespace"] == namespace["metadata"]["name"]
        for one in built(overlay)
        if one["kind"] != "Namespace"
    )


@overlays
def test_nothing_goes_in_or_out_unless_it_is_allowed(overlay: str) -> None:
    deny = of_kind(overlay, "NetworkPolicy")["default-deny"]["spec"]
    assert deny == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


@overlays
def test_secrets_are_referred_to(overlay: str) -> None:
    for name, _, pod in ours(overlay):
        for container in pod["containers"]:
            for one in container.get("env", ()):
                assert not re.search("PASSWORD$|SECRET|DATABASE_URL", one["name"]) or "valueFrom" in one, name


@overlays
def test_its_command_is_one(overlay: str) -> None:
    """Parsed by the real command line, and not run."""
    command = typer.main.get_command(build())
    for name, _, pod in ours(overlay):
        for container in pod["containers"]:
            if not container["image"].startswith(("adsml-", "registry.example.com/adsml/")):
                continue
            context, group, words = typer.Context(command), command, list(container["args"])
            while hasattr(group, "resolve_command"):
                _, group, words = group.resolve_command(context, words)
                assert group is not None, name
            group.make_context("adsml", list(words), resilient_parsing=False)


def test_production_has_no_secret_in_it() -> None:
    assert not of_kind("overlays/production", "Secret")
