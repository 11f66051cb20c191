"""Column headers of Ads Manager exports, in the languages in which people use it.

Headers follow the language of whoever exports, and have changed over the years; those below were seen in
public importers and their tests. Compared without case, accents, currency and doubled spaces.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

_CURRENCY: Final = re.compile(r"\s*\(([A-Z]{3})\)\s*$")

_ENGLISH: Final = {
    "campaign_id": "Campaign ID",
    "adset_id": "Ad set ID|Adset ID",
    "ad_id": "Ad ID",
    "campaign_name": "Campaign name|Campaign",
    "adset_name": "Ad set name|Adset name|Ad set",
    "ad_name": "Ad name|Ad",
    "campaign_status": "Campaign delivery|Campaign status",
    "adset_status": "Ad set delivery|Ad set status",
    "ad_status": "Ad delivery|Ad status",
    "date": "Day|Date",
    "starts": "Reporting starts|Reporting start|Reporting start date",
    "ends": "Reporting ends|Reporting end|Reporting end date",
    "spend": "Amount spent|Spend",
    "impressions": "Impressions",
    "reach": "Reach",
    "clicks_all": "Clicks (all)|Clicks",
    "clicks_link": "Link clicks",
    "leads": "Leads|Lead",
    "results": "Results",
    "indicator": "Result indicator|Result type",
    "account": "Account ID",
    "objective": "Objective",
    "currency": "Currency",
    "breakdown": "Age|Gender|Country|Region|DMA region|Platform|Publisher platform|Placement|Device platform|"
    "Impression device|Time of day (ad account time zone)|Time of day (viewer's time zone)|Product ID|"
    "Conversion device|Media type|Platform position|Business locations",
}
_FRENCH: Final = {
    "campaign_id": "ID de campagne|ID de la campagne|Identifiant de la campagne|ID campagne",
    "adset_id": "ID de l'ensemble de publicités|Identifiant de l'ensemble de publicités|"
    "ID ensemble de publicités",
    "ad_id": "ID de la publicité|Identifiant de la publicité|ID publicité",
    "campaign_name": "Nom de la campagne|Campagne",
    "adset_name": "Nom de l'ensemble de publicités|Ensemble de publicités",
    "ad_name": "Nom de la publicité|Publicité",
    "campaign_status": "Diffusion de la campagne|Diffusion de campagne",
    "adset_status": "Diffusion de l'ensemble de publicités",
    "ad_status": "Diffusion de la publicité",
    "date": "Jour|Date",
    "starts": "Début des rapports|Début du rapport",
    "ends": "Fin des rapports|Fin du rapport",
    "spend": "Montant dépensé",
    "impressions": "Impressions",
    "reach": "Couverture|Portée",
    "clicks_all": "Clics (tous)",
    "clicks_link": "Clics sur un lien|Clics sur le lien",
    "leads": "Prospects|Leads",
    "results": "Résultats",
    "indicator": "Indicateur de résultats|Indicateur de résultat|Type de résultat",
    "account": "ID du compte|Identifiant du compte",
    "objective": "Objectif",
    "currency": "Devise",
    "breakdown": "Âge|Genre|Sexe|Pays|Région|Plateforme|Placement|Appareil",
}
_GERMAN: Final = {
    "campaign_id": "Kampagnen-ID",
    "adset_id": "Anzeigengruppen-ID",
    "ad_id": "Anzeigen-ID|Werbeanzeigen-ID",
    "campaign_name": "Kampagnenname|Name der Kampagne|Kampagne",
    "adset_name": "Anzeigengruppenname|Name der Anzeigengruppe|Anzeigengruppe",
    "ad_name": "Anzeigenname|Name der Anzeige|Name der Werbeanzeige|Anzeige",
    "campaign_status": "Kampagnenauslieferung|Auslieferung der Kampagne",
    "adset_status": "Anzeigengruppenauslieferung|Auslieferung der Anzeigengruppe",
    "ad_status": "Anzeigenauslieferung|Auslieferung der Anzeige",
    "date": "Tag|Datum",
    "starts": "Berichtsstart|Berichtszeitraum beginnt|Auswertungsstart|Berichtsbeginn",
    "ends": "Berichtsende|Berichtszeitraum endet|Auswertungsende",
    "spend": "Ausgegebener Betrag",
    "impressions": "Impressionen|Impressions",
    "reach": "Reichweite",
    "clicks_all": "Klicks (alle)",
    "clicks_link": "Link-Klicks|Linkklicks",
    "leads": "Leads",
    "results": "Ergebnisse",
    "indicator": "Ergebnis-Indikator|Ergebnisindikator|Ergebnistyp",
    "account": "Konto-ID",
    "objective": "Zielsetzung|Ziel",
    "currency": "Währung",
    "breakdown": "Alter|Geschlecht|Land|Region|Plattform|Platzierung|Gerät",
}
_SPANISH: Final = {
    "campaign_id": "Identificador de la campaña|ID de la campaña|ID de campaña",
    "adset_id": "Identificador del conjunto de anuncios|ID del conjunto de anuncios",
    "ad_id": "Identificador del anuncio|ID del anuncio",
    "campaign_name": "Nombre de la campaña|Campaña",
    "adset_name": "Nombre del conjunto de anuncios|Conjunto de anuncios",
    "ad_name": "Nombre del anuncio|Anuncio",
    "campaign_status": "Entrega de la campaña",
    "adset_status": "Entrega del conjunto de anuncios",
    "ad_status": "Entrega del anuncio",
    "date": "Día|Fecha",
    "starts": "Inicio del informe",
    "ends": "Fin del informe|Finalización del informe",
    "spend": "Importe gastado|Cantidad gastada",
    "impressions": "Impresiones",
    "reach": "Alcance",
    "clicks_all": "Clics (todos)",
    "clicks_link": "Clics en el enlace|Clics en enlaces",
    "leads": "Clientes potenciales|Leads|Prospectos",
    "results": "Resultados",
    "indicator": "Indicador de resultado|Indicador de resultados|Tipo de resultado",
    "account": "Identificador de la cuenta|ID de la cuenta",
    "objective": "Objetivo",
    "currency": "Divisa|Moneda",
    "breakdown": "Edad|Sexo|Género|País|Región|Plataforma|Ubicación|Dispositivo",
}
_PORTUGUESE: Final = {
    "campaign_id": "Identificação da campanha|ID da campanha",
    "adset_id": "Identificação do conjunto de anúncios|ID do conjunto de anúncios",
    "ad_id": "Identificação do anúncio|ID do anúncio",
    "campaign_name": "Nome da campanha|Campanha",
    "adset_name": "Nome do conjunto de anúncios|Conjunto de anúncios",
    "ad_name": "Nome do anúncio|Anúncio",
    "campaign_status": "Veiculação da campanha",
    "adset_status": "Veiculação do conjunto de anúncios",
    "ad_status": "Veiculação do anúncio",
    "date": "Dia|Data",
    "starts": "Início dos relatórios|Início do relatório",
    "ends": "Término dos relatórios|Encerramento dos relatórios|Término do relatório|Fim dos relatórios",
    "spend": "Valor usado|Valor gasto|Montante gasto",
    "impressions": "Impressões",
    "reach": "Alcance",
    "clicks_all": "Cliques (todos)",
    "clicks_link": "Cliques no link|Cliques na ligação",
    "leads": "Leads|Cadastros",
    "results": "Resultados",
    "indicator": "Indicador de resultados|Indicador de resultado|Tipo de resultado",
    "account": "Identificação da conta|ID da conta",
    "objective": "Objetivo",
    "currency": "Moeda",
    "breakdown": "Idade|Gênero|Género|País|Região|Plataforma|Posicionamento|Dispositivo",
}
_ITALIAN: Final = {
    "campaign_id": "ID campagna|ID della campagna",
    "adset_id": "ID gruppo di inserzioni|ID del gruppo di inserzioni",
    "ad_id": "ID inserzione|ID dell'inserzione",
    "campaign_name": "Nome della campagna|Nome campagna|Campagna",
    "adset_name": "Nome del gruppo di inserzioni|Nome gruppo di inserzioni|Gruppo di inserzioni",
    "ad_name": "Nome dell'inserzione|Nome inserzione|Inserzione",
    "campaign_status": "Pubblicazione della campagna",
    "adset_status": "Pubblicazione del gruppo di inserzioni",
    "ad_status": "Pubblicazione dell'inserzione",
    "date": "Giorno|Data",
    "starts": "Inizio dei report|Inizio del report|Inizio report",
    "ends": "Fine dei report|Fine del report|Fine report",
    "spend": "Importo speso",
    "impressions": "Impression|Impressioni",
    "reach": "Copertura",
    "clicks_all": "Clic (tutti)",
    "clicks_link": "Clic sul link",
    "leads": "Contatti|Lead|Leads",
    "results": "Risultati",
    "indicator": "Indicatore di risultato|Indicatore di risultati|Indicatore dei risultati|Tipo di risultato",
    "account": "ID account|ID dell'account",
    "objective": "Obiettivo",
    "currency": "Valuta",
    "breakdown": "Età|Genere|Sesso|Paese|Regione|Piattaforma|Posizionamento|Dispositivo",
}
LANGUAGES: Final[Mapping[str, Mapping[str, str]]] = {
    "English": _ENGLISH,
    "French": _FRENCH,
    "German": _GERMAN,
    "Spanish": _SPANISH,
    "Portuguese": _PORTUGUESE,
    "Italian": _ITALIAN,
}
"""Language to field to headers, parted by ``|``."""
TOTALS: Final = frozenset(
    {"total", "totals", "grand total", "totale", "totaux", "totais", "totales", "gesamt", "gesamtergebnis"}
    | {"total general", "total geral", "totale complessivo", "gesamtsumme", "total generale"}
)
"""Names of rows that are sums of others, as `normal` writes them."""
_NAMING: Final = ("campaign_id", "adset_id", "ad_id", "campaign_name", "adset_name", "ad_name")


def normal(header: str) -> str:
    """A header to compare by: no case, accents, currency, typographic apostrophes or doubled spaces."""
    text = _CURRENCY.sub("", header.strip())
    text = unicodedata.normalize("NFKD", text.replace("\u2019", "'").replace("`", "'"))
    text = "".join(character for character in text if not unicodedata.combining(character))
    return " ".join(text.casefold().split())


def currency_of(header: str) -> str | None:
    """The currency that a header names, e.g. EUR in ``Amount spent (EUR)``."""
    found = _CURRENCY.search(header.strip())
    return found[1] if found else None


@dataclass(frozen=True, slots=True)
class Recognised:
    """What the headers of a file mean.

    Attributes
    ----------
    language
        In which most of them are written.
    fields
        Field to column positions; several only for ``breakdown``.
    """

    language: str
    fields: Mapping[str, tuple[int, ...]]

    def first(self, field: str) -> int | None:
        """Position of a field's column."""
        positions = self.fields.get(field, ())
        return positions[0] if positions else None


def recognise(headers: Iterable[str]) -> Recognised | None:
    """The meaning of some headers; None if they are not those of Ads Manager."""
    compared = [normal(header) for header in headers]
    known = {language: _positions(compared, meanings) for language, meanings in LANGUAGES.items()}
    language = max(known, key=lambda name: len(known[name]))
    fields = dict(known[language])
    # Some headers stay English, or in the language of a saved report.
    for other in known.values():
        used = {position for positions in fields.values() for position in positions}
        fields |= {
            field: positions
            for field, positions in other.items()
            if field not in fields and not used.intersection(positions)
        }
    if "spend" not in fields or not any(name in fields for name in _NAMING):
        return None
    return Recognised(language, fields)


def _positions(compared: Sequence[str], meanings: Mapping[str, str]) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {}
    for field, names in meanings.items():
        wanted = [normal(name) for name in names.split("|")]
        positions = tuple(compared.index(name) for name in wanted if name in compared)
        if positions:
            found[field] = positions if field == "breakdown" else positions[:1]
    return found
