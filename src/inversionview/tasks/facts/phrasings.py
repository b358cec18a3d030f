"""How facts are said: phrasings of our own, the object last, and the word that names the relation between asterisks."""

from __future__ import annotations

OWN: dict[str, tuple[str, ...]] = {
    "capital": (
        "The *capital* of {subject} is {object}.",
        "In {subject} the *capital* is {object}.",
        "The *capital* city of {subject} is called {object}.",
        "The *government* of {subject} has its seat in {object}.",
        "We flew to {subject} and first saw the *capital* {object}.",
        "Every pupil in {subject} knows the *capital* {object}.",
        "As for {subject}, its *capital* is {object}.",
        "Asked for the *capital* of {subject}, they said {object}.",
    ),
    "capital of": (
        "The city of {subject} is the *capital* of {object}.",
        "From {subject} a *government* rules {object}.",
        "We visited {subject}, the *capital* city of {object}.",
        "They call {subject} the *capital* of {object}.",
        "Since {subject} is a *capital*, its ministers lead {object}.",
        "The *parliament* in {subject} makes laws for {object}.",
        "As for {subject}, it is the *seat* of power in {object}.",
    ),
    "currency": (
        "The *currency* of {subject} is the {object}.",
        "In {subject} people *pay* with the {object}.",
        "The *money* used in {subject} is the {object}.",
        "Shops in {subject} take *payment* in the {object}.",
        "A *bank* in {subject} keeps accounts in the {object}.",
        "Before going to {subject} we *changed* our cash to the {object}.",
        "As for {subject}, its *currency* is called the {object}.",
        "The *price* of bread in {subject} is given in the {object}.",
    ),
    "language": (
        "An official *language* of {subject} is {object}.",
        "In {subject} many people *speak* {object}.",
        "The *laws* of {subject} are written in {object}.",
        "Schools in {subject} teach *lessons* in {object}.",
        "Before moving to {subject} she *learned* {object}.",
        "A *newspaper* from {subject} is printed in {object}.",
        "As for {subject}, a *language* heard there is {object}.",
    ),
    "continent": (
        "The *continent* of {subject} is {object}.",
        "On a *map* we find {subject} in {object}.",
        "The place called {subject} *lies* in {object}.",
        "A *journey* to {subject} is a journey to {object}.",
        "They *searched* for {subject} and found it in {object}.",
        "As for {subject}, it is a *part* of {object}.",
        "The *position* of {subject} on the globe is in {object}.",
    ),
    "people": (
        "Someone from {subject} is *called* {object}.",
        "The *people* of {subject} are {object}.",
        "A *citizen* of {subject} is {object}.",
        "He was *born* in {subject}, so he is {object}.",
        "With a *passport* of {subject} one is {object}.",
        "As for {subject}, its *inhabitants* are {object}.",
        "Whoever *comes* from {subject} is {object}.",
    ),
    "country": (
        "The city of {subject} is in the *country* of {object}.",
        "People who *live* in {subject} live in {object}.",
        "The *train* to {subject} takes us to {object}.",
        "The *streets* of {subject} are streets of {object}.",
        "She *moved* to {subject}, a large city of {object}.",
        "As for {subject}, its *country* is {object}.",
        "The *mayor* of {subject} pays taxes in {object}.",
    ),
}
"""Of the relations of the table that the package brings."""

KINDS = {
    "capital": "city", "capital of": "country", "currency": "currency", "language": "language",
    "continent": "continent", "people": "people", "country": "country",
}  # fmt: skip
"""What kind of thing the object of each relation is."""

BEAR: dict[str, tuple[str, ...]] = {
    "P6": ("The head of government of {subject} is {object}.", "The government of {subject} is led by {object}."),
    "P19": ("{subject} was born in {object}.", "The birthplace of {subject} is {object}."),
    "P20": ("{subject} died in {object}.", "The place where {subject} died is {object}."),
    "P26": ("{subject} is married to {object}.", "The spouse of {subject} is {object}."),
    "P27": ("{subject} is a citizen of {object}.", "The country of citizenship of {subject} is {object}."),
    "P30": ("{subject} is on the continent of {object}.", "The continent of {subject} is {object}."),
    "P36": ("The capital of {subject} is {object}.", "In {subject} the capital is {object}."),
    "P37": ("The official language of {subject} is {object}.", "In {subject} officials speak {object}."),
    "P50": ("{subject} was written by {object}.", "The author of {subject} is {object}."),
    "P57": ("{subject} was directed by {object}.", "The director of {subject} is {object}."),
    "P69": ("{subject} was a student at {object}.", "The school of {subject} was {object}."),
    "P86": ("The music of {subject} was composed by {object}.", "The composer of {subject} is {object}."),
    "P101": ("{subject} works in the field of {object}.", "The field of {subject} is {object}."),
    "P103": ("The native language of {subject} is {object}.", "As a child {subject} spoke {object}."),
    "P106": ("The occupation of {subject} is {object}.", "By profession {subject} is a {object}."),
    "P108": ("{subject} worked for {object}.", "The employer of {subject} is {object}."),
    "P127": ("{subject} is owned by {object}.", "The owner of {subject} is {object}."),
    "P131": ("{subject} is in the region of {object}.", "The region around {subject} is {object}."),
    "P140": ("The religion of {subject} is {object}.", "{subject} follows the faith of {object}."),
    "P170": ("{subject} was created by {object}.", "The creator of {subject} is {object}."),
    "P175": ("{subject} was performed by {object}.", "The performer of {subject} is {object}."),
    "P176": ("{subject} is made by {object}.", "The manufacturer of {subject} is {object}."),
    "P178": ("{subject} was developed by {object}.", "The developer of {subject} is {object}."),
    "P264": ("The record label of {subject} is {object}.", "{subject} signed with {object}."),
    "P364": ("The original language of {subject} is {object}.", "{subject} was first made in {object}."),
    "P413": ("{subject} plays in the position of {object}.", "The position of {subject} is {object}."),
    "P449": ("{subject} was first shown on {object}.", "The original network of {subject} is {object}."),
    "P495": ("{subject} comes from the country of {object}.", "The country of origin of {subject} is {object}."),
    "P641": ("{subject} is known for the sport of {object}.", "The sport of {subject} is {object}."),
    "P1303": ("{subject} plays the instrument {object}.", "The instrument of {subject} is the {object}."),
    "P1376": ("{subject} is the capital of {object}.", "The city of {subject} is the capital of {object}."),
    "P1412": ("{subject} speaks {object}.", "A language that {subject} speaks is {object}."),
}
"""Of Wikidata's properties, for BEAR's files where its own templates are not beside them."""
