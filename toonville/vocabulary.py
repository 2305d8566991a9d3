"""What the bundled model says about its words: those of its captions, and what it lacks."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from toonville.captions import all_phrases
from toonville.phrases import (
    ACCESSORY_PHRASES,
    ACTION_PHRASES,
    CLOTHES_PHRASES,
    EXPRESSION_PHRASES,
    PAIR_PHRASES,
    SCENE_PHRASES,
    STYLE_PHRASES,
)
from toonville.world import CLOTHES

TABLES: dict[str, Mapping[str, Sequence[str]]] = {
    "expressions": EXPRESSION_PHRASES,
    "accessories": ACCESSORY_PHRASES,
    "clothes": {colour: (CLOTHES_PHRASES[0].format(colour),) for colour in CLOTHES},
    "scenes": SCENE_PHRASES,
    "actions": ACTION_PHRASES,
    "styles": STYLE_PHRASES,
    "people together": PAIR_PHRASES,
}
# Group -> what people ask for that its captions lack, separated by commas; "": nothing is near.
REQUESTS = {
    "styles": "oil painting, watercolor, watercolour, acrylic, painting, anime, manga, cartoon,"
    "comic, 3d render, 3d, cgi, clay, sculpture, statue, impressionist, cubist, surreal, cyberpunk,"
    "steampunk, fantasy, charcoal, ink, line art, low poly, polaroid, black and white, monochrome,"
    "stained glass, mosaic, graffiti, tattoo, logo, sticker, origami, lego, pixar, disney, ghibli",
    "expressions": "grinning, crying, weeping, scared, afraid, frightened, bored, tired, sleeping,"
    "sleepy, disgusted, confused, shouting, screaming, yelling, kissing, frowning, serious, calm,"
    "excited, in love, blushing, thinking",
    "accessories": "cap, helmet, mask, earrings, necklace, ring, watch, tie, bow tie, bandana,"
    "veil, hood, turban, beanie, headband, gloves, umbrella, backpack, bag, jewelry, jewellery,"
    "tiara, eyepatch, goggles, monocle, wig",
    "clothes": "dress, suit, jacket, coat, jeans, trousers, pants, skirt, uniform, armor, armour,"
    "kimono, robe, hoodie, tuxedo, gown, swimsuit, bikini, costume, cape, spacesuit, vest",
    "scenes": "kitchen, office, school, church, park, garden, river, lake, bedroom, castle, moon,"
    "mars, underwater, ocean, restaurant, cafe, bar, shop, market, station, airport, train, bus,"
    "road, field, farm, jungle, island, village, house, room, studio, gym, stadium, museum, palace,"
    "ruins, cave, volcano, waterfall, rain, storm, fireworks, sunset, sunrise, winter, autumn,"
    "spring, summer, night, paris, london, new york, tokyo, rome",
    "actions": "dancing, running, walking, jumping, cooking, singing, riding, swimming, eating,"
    "sitting, lying, climbing, flying, driving, painting, writing, typing, phoning, skiing,"
    "skating, surfing, fishing, boxing, fighting, praying, working, studying, shopping, cycling,"
    "piano, violin, drums, trumpet, microphone, football, soccer, tennis, basketball, golf, chess,"
    "phone, computer, laptop, sword, gun, camera, cake, pizza, apple, wine, beer, tea",
    "people together": "hugging, embracing, arguing, marrying, wedding, high five, holding hands,"
    "toasting, talking, dancing together",
    "": "horse, dog, cat, bird, animal, elephant, lion, tiger, bear, dragon, unicorn, fish, car,"
    "bicycle, bike, motorcycle, boat, ship, plane, rocket, robot, alien, monster, zombie, vampire,"
    "ghost, angel, wizard, witch, knight, king, queen, superhero, astronaut, doctor, soldier,"
    "police, nurse, chef, pirate, ninja, man, woman, boy, girl, baby, child, kid, beard, moustache,"
    "hair, freckles, tattooed, blonde, tree house, balloon, tower, bridge, crowd",
}


def vocabulary() -> dict[str, Any]:
    """Return the value of the key "vocabulary" of studio.json; see `celeb_core.vocabulary`."""
    texts = [*all_phrases(), *CLOTHES]
    known = set(re.findall(r"[^\W\d_]+", " ".join(texts).casefold()))
    phrases = {text.replace("{}", "").strip() for text in texts} | known
    groups = {
        name: [_shown(options) for options in table.values()] for name, table in TABLES.items()
    }
    requests = {
        request.strip(): group
        for group, listed in REQUESTS.items()
        for request in listed.split(",")
        if request.strip() not in phrases
    }
    return {"words": sorted(known), "groups": groups, "requests": requests}


def _shown(options: Sequence[str]) -> str:
    """Return how a value is called in a message: "a pencil sketch", "X and Y at dinner"."""
    of = next((text for text in options if text.endswith(" of {}")), None)
    if of is not None:
        return of.removesuffix(" of {}")
    people = iter(("X", "Y", "Z"))
    text = re.sub(r"\{\d?\}", lambda found: next(people, "X"), options[0])
    return re.sub(r"\ba (?=[aeiou])", "an ", text)
