"""The words of the demo's world, each in English and Russian: categories, nouns, adjectives and verbs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from lep_core.demo.russian import RussianAdjective, RussianNoun, RussianVerb


@dataclass(frozen=True, kw_only=True)
class Category:
    """A kind of things; `english_article` is "" where English uses none ("food")."""

    english: str
    english_article: str
    russian: str
    animate: bool = False

    @property
    def english_phrase(self) -> str:
        """The category with its article: "an animal", "food"."""
        return f"{self.english_article} {self.english}".strip()


@dataclass(frozen=True, kw_only=True)
class Noun:
    """A thing or a being in both languages."""

    english: str
    english_plural: str
    russian: RussianNoun
    category: Category


@dataclass(frozen=True, kw_only=True)
class Adjective:
    """A property in both languages."""

    english: str
    russian: RussianAdjective


@dataclass(frozen=True, kw_only=True)
class Verb:
    """What a subject does to an object; `animate_object` for verbs that need a living one."""

    english_singular: str
    english_plural: str
    english_past: str
    english_preposition: str
    russian: RussianVerb
    animate_object: bool = False


PERSON = Category(english="person", english_article="a", russian="человек", animate=True)
ANIMAL = Category(english="animal", english_article="an", russian="животное", animate=True)
FOOD = Category(english="food", english_article="", russian="еда")
PLANT = Category(english="plant", english_article="a", russian="растение")
FURNITURE = Category(english="furniture", english_article="", russian="мебель")
TOOL = Category(english="tool", english_article="a", russian="инструмент")
CLOTHING = Category(english="clothing", english_article="", russian="одежда")
CATEGORIES = (PERSON, ANIMAL, FOOD, PLANT, FURNITURE, TOOL, CLOTHING)

_M, _F, _N = "masculine", "feminine", "neuter"

# English, its plural, Russian, gender, Russian genitive plural where no rule gives it.
_TABLE: dict[Category, tuple[tuple[str, str, str, str, str], ...]] = {
    PERSON: (
        ("boy", "boys", "мальчик", _M, ""),
        ("girl", "girls", "девочка", _F, "девочек"),
        ("doctor", "doctors", "врач", _M, ""),
        ("woman", "women", "женщина", _F, ""),
        ("student", "students", "студент", _M, ""),
        ("artist", "artists", "художник", _M, ""),
        ("queen", "queens", "королева", _F, ""),
    ),
    ANIMAL: (
        ("cat", "cats", "кошка", _F, "кошек"),
        ("dog", "dogs", "собака", _F, ""),
        ("cow", "cows", "корова", _F, ""),
        ("elephant", "elephants", "слон", _M, ""),
        ("tiger", "tigers", "тигр", _M, ""),
        ("fish", "fish", "рыба", _F, ""),
        ("bear", "bears", "медведь", _M, ""),
    ),
    FOOD: (
        ("apple", "apples", "яблоко", _N, ""),
        ("cheese", "cheeses", "сыр", _M, ""),
        ("soup", "soups", "суп", _M, ""),
        ("pear", "pears", "груша", _F, ""),
        ("salad", "salads", "салат", _M, ""),
        ("tomato", "tomatoes", "помидор", _M, ""),
        ("cherry", "cherries", "вишня", _F, "вишен"),
    ),
    PLANT: (
        ("oak", "oaks", "дуб", _M, ""),
        ("rose", "roses", "роза", _F, ""),
        ("birch", "birches", "берёза", _F, ""),
        ("pine", "pines", "сосна", _F, "сосен"),
        ("tulip", "tulips", "тюльпан", _M, ""),
        ("cactus", "cactuses", "кактус", _M, ""),
        ("maple", "maples", "клён", _M, ""),
    ),
    FURNITURE: (
        ("table", "tables", "стол", _M, ""),
        ("bed", "beds", "кровать", _F, ""),
        ("wardrobe", "wardrobes", "шкаф", _M, ""),
        ("sofa", "sofas", "диван", _M, ""),
        ("shelf", "shelves", "полка", _F, "полок"),
        ("armchair", "armchairs", "кресло", _N, "кресел"),
        ("mirror", "mirrors", "зеркало", _N, ""),
    ),
    TOOL: (
        ("hammer", "hammers", "молоток", _M, ""),
        ("saw", "saws", "пила", _F, ""),
        ("axe", "axes", "топор", _M, ""),
        ("needle", "needles", "игла", _F, ""),
        ("brush", "brushes", "щётка", _F, "щёток"),
        ("shovel", "shovels", "лопата", _F, ""),
        ("knife", "knives", "нож", _M, ""),
    ),
    CLOTHING: (
        ("dress", "dresses", "платье", _N, "платьев"),
        ("shirt", "shirts", "рубашка", _F, "рубашек"),
        ("hat", "hats", "шляпа", _F, ""),
        ("scarf", "scarves", "шарф", _M, ""),
        ("jacket", "jackets", "куртка", _F, "курток"),
        ("skirt", "skirts", "юбка", _F, "юбок"),
        ("sweater", "sweaters", "свитер", _M, ""),
    ),
}
_STEMS = {"молоток": "молотк"}
# Apples are irregular: a neuter noun with the plural ending of the others.
_IRREGULAR = {"яблоко": {("nominative", "plural"): "яблоки", ("accusative", "plural"): "яблоки"}}


def _nouns() -> Iterable[Noun]:
    for category, rows in _TABLE.items():
        for english, english_plural, russian, gender, genitive_plural in rows:
            yield Noun(
                english=english,
                english_plural=english_plural,
                category=category,
                russian=RussianNoun(
                    nominative=russian,
                    gender=gender,
                    animate=category.animate,
                    stem=_STEMS.get(russian, ""),
                    genitive_plural=genitive_plural,
                    forms=_IRREGULAR.get(russian, {}),
                ),
            )


NOUNS: tuple[Noun, ...] = tuple(_nouns())
ANIMATE: tuple[Noun, ...] = tuple(noun for noun in NOUNS if noun.category.animate)
INANIMATE: tuple[Noun, ...] = tuple(noun for noun in NOUNS if not noun.category.animate)

ADJECTIVES: tuple[Adjective, ...] = tuple(
    Adjective(english=english, russian=RussianAdjective(nominative=russian))
    for english, russian in (
        ("red", "красный"),
        ("blue", "синий"),
        ("white", "белый"),
        ("new", "новый"),
        ("old", "старый"),
        ("big", "большой"),
        ("small", "маленький"),
    )
)

VERBS: tuple[Verb, ...] = tuple(
    Verb(
        english_singular=singular,
        english_plural=plural,
        english_past=past,
        english_preposition=english_preposition,
        russian=RussianVerb(present_singular=ru[0], present_plural=ru[1], past_stem=ru[2], case=case, preposition=preposition),
        animate_object=animate_object,
    )
    for singular, plural, past, english_preposition, ru, case, preposition, animate_object in (
        ("sees", "see", "saw", "", ("видит", "видят", "виде"), "accusative", "", False),
        ("loves", "love", "loved", "", ("любит", "любят", "люби"), "accusative", "", False),
        ("seeks", "seek", "sought", "", ("ищет", "ищут", "иска"), "accusative", "", False),
        ("finds", "find", "found", "", ("находит", "находят", "находи"), "accusative", "", False),
        ("helps", "help", "helped", "", ("помогает", "помогают", "помога"), "dative", "", True),
        ("thinks", "think", "thought", "about", ("думает", "думают", "дума"), "prepositional", "о", False),
        ("plays", "play", "played", "with", ("играет", "играют", "игра"), "instrumental", "с", True),
    )
)

NUMERALS: tuple[tuple[str, str, str], ...] = (
    # English, Russian with masculine and neuter, Russian with feminine; two to four take the genitive singular.
    ("two", "два", "две"),
    ("three", "три", "три"),
    ("five", "пять", "пять"),
)
