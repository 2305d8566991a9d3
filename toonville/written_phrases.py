"""The phrases of captions as people write them, besides those of the plain form.

A {} stands for a person, or the rest of the caption; {0}, {1}, {2} for people from left to right.
"""

from __future__ import annotations

from toonville.phrases import coloured, listed

OPENINGS = listed(
    "a stunning image of {}; an amazing picture of {}; a beautiful portrait of {}; portrait of {};"
    "picture of {}; image of {}; a professional photo of {}; a high quality photo of {};"
    "a highly detailed portrait of {}; close-up of {}; a close up of {}; headshot of {};"
    "a selfie of {}; a snapshot of {}; a shot of {}; an illustration of {}; imagine {}; we see {};"
    "there is {}; this is {}; here is {}; show me {}; draw {}; please draw {};"
    "make a picture of {}; create an image of {}; generate a photo of {}; i want to see {};"
    "a scene with {}; {}; {}; {}; {}; {}; {}"
)
FILLERS = listed(
    "masterpiece; best quality; highly detailed; 8k; 4k; hd; award-winning; award winning photo;"
    "beautiful; professional; professional photography; high quality; sharp focus; trending;"
    "trending on artstation; artstation; cinematic lighting; cinematic; studio quality;"
    "studio lighting; soft lighting; dramatic lighting; ultra detailed; intricate;"
    "intricate details; very detailed; detailed face; perfect face; realistic; photorealistic;"
    "hyperrealistic; high resolution; highres; absurdres; bokeh; depth of field; vivid colors;"
    "digital art; concept art; amazing; stunning; epic; gorgeous; elegant; smooth; raw photo;"
    "dslr; f 1.8; 50mm lens; natural light; looking at the camera; looking at viewer;"
    "unreal engine; octane render; top quality; great composition; wide angle; centered"
)
TIMES = listed(
    "at night; in the morning; in the evening; in the afternoon; at sunset; at sunrise; at dawn;"
    "at noon; at midnight; on a sunny day; on a cloudy day; on a rainy day; in summer; in winter;"
    "in spring; in autumn; during the day; on vacation; today; at golden hour"
)
KINDS = listed("portrait; photo; close-up; closeup portrait; picture; headshot; selfie")
ADJECTIVES = {
    "smiling": listed("happy; smiling; laughing; cheerful; grinning; joyful; happy smiling"),
    "sad": listed("sad; unhappy; crying; gloomy; very sad; depressed"),
    "angry": listed("angry; mad; furious; very angry; grumpy"),
    "surprised": listed("surprised; shocked; amazed; astonished; very surprised"),
    "winking": listed("winking; playfully winking"),
}
# Group -> value -> what follows a person, or comes first with a comma.
MODIFIERS = {
    "expression": {
        "smiling": listed(
            "grinning; laughing out loud; smiling happily; with a smile; with a happy face;"
            "with a smile on the face; cheerful; full of joy; with a wide grin; looking cheerful"
        ),
        "sad": listed(
            "unhappy; crying; looking unhappy; in tears; with a sad expression; looking depressed;"
            "feeling sad; looking gloomy; frowning sadly"
        ),
        "angry": listed(
            "mad; furious; looking mad; with an angry expression; looking furious; full of anger;"
            "in a rage; very angry; scowling"
        ),
        "surprised": listed(
            "shocked; amazed; astonished; looking shocked; with a surprised expression;"
            "looking amazed; with an open mouth; in shock; looking astonished"
        ),
        "winking": listed(
            "with a wink; winking at the camera; winking with one eye; with one eye closed"
        ),
    },
    "accessory": {
        "sunglasses": listed(
            "wearing shades; in shades; with dark sunglasses; wearing dark glasses;"
            "wearing cool sunglasses; with sunglasses on"
        ),
        "glasses": listed(
            "wearing spectacles; with eyeglasses; wearing red glasses; with glasses on;"
            "wearing reading glasses; wearing eyeglasses"
        ),
        "hat": listed(
            "in a hat; with a hat on; wearing a brown hat; wearing a cowboy hat; with a fedora;"
            "wearing a fedora; with a hat on the head"
        ),
        "crown": listed(
            "wearing a golden crown; with a crown on the head; wearing a gold crown; in a crown;"
            "crowned; wearing a royal crown"
        ),
        "headphones": listed(
            "in headphones; with headphones on; listening to music; wearing a headset;"
            "wearing big headphones"
        ),
        "scarf": listed(
            "in a scarf; wearing a pink scarf; with a warm scarf; wearing a warm scarf;"
            "with a scarf around the neck; wrapped in a scarf"
        ),
    },
    "scene": {
        "beach": listed(
            "by the ocean; at the seaside; at the coast; on a beach; on a sandy beach;"
            "on a tropical beach; at the seashore; near the sea; standing on the beach"
        ),
        "city": listed(
            "downtown; in the streets; in a city; in front of skyscrapers; on the street;"
            "in an urban setting; walking in the city; in a modern city; in front of tall buildings"
        ),
        "forest": listed(
            "in the woods; among the trees; in a green forest; surrounded by trees; in deep woods;"
            "in a dark forest; standing in the forest; walking in the woods"
        ),
        "space": listed(
            "in the galaxy; floating in space; in the cosmos; in front of a galaxy;"
            "in front of the stars; in deep space; surrounded by stars and planets;"
            "among stars and planets"
        ),
        "mountains": listed(
            "in front of mountains; in front of snowy peaks; on a mountain; in the alps;"
            "on top of a mountain; hiking in the mountains; on a snowy mountain; among the peaks"
        ),
        "desert": listed(
            "in a desert; among the dunes; in the dunes; in the sahara; between sand dunes;"
            "in the dry desert; next to a cactus; in a sandy desert; lost in the desert"
        ),
        "library": listed(
            "in front of bookshelves; among bookshelves; surrounded by books; at the library;"
            "in an old library; in front of many books; between the bookshelves"
        ),
        "stage": listed(
            "on a concert stage; at a concert; in a theater; performing on stage;"
            "in the spotlight; standing on stage; in the theater; in front of the curtains"
        ),
    },
    "action": {
        "guitar": listed(
            "strumming a guitar; with a guitar in hand; playing a guitar; holding a guitar;"
            "playing an acoustic guitar; making music on the guitar; playing a song on the guitar"
        ),
        "book": listed(
            "with a book in hand; reading; with a book; reading a novel; holding an open book;"
            "studying a book; reading an old book; absorbed in a book"
        ),
        "cup": listed(
            "sipping coffee; with a cup of tea; with a cup of coffee; drinking tea;"
            "drinking from a cup; holding a mug; with a coffee mug; having coffee;"
            "holding a cup; enjoying a coffee; sipping tea"
        ),
        "flowers": listed(
            "holding a bouquet; with a bouquet of flowers; with a bouquet; with flowers in hand;"
            "holding a bunch of flowers; carrying flowers; holding roses; with a bouquet of roses"
        ),
        "waving": listed(
            "waving hello; waving at the camera; waving goodbye; with a raised hand;"
            "greeting the viewer; raising a hand; waving to us; waving at us"
        ),
    },
    "clothes": coloured(
        "in a {} t-shirt; wearing a {} t-shirt; wearing {}; in {} clothes; wearing a {} sweater;"
        "in a {} sweater; wearing a {} top; in a {} top; in a {} pullover; with a {} shirt;"
        "with a {} t-shirt; in a {} outfit; dressed in a {} shirt; wearing a {} blouse"
    ),
}
VERBS = {
    "expression": {
        "smiling": listed("smiles; laughs; grins; looks happy; has a big smile; smiles happily"),
        "sad": listed("looks sad; cries; has a sad face; looks unhappy; feels sad"),
        "angry": listed("looks angry; has an angry face; looks furious; looks mad"),
        "surprised": listed("looks surprised; has a surprised face; looks shocked; looks amazed"),
        "winking": listed("winks; winks at the camera; winks at us; gives a wink"),
    },
    "accessory": {
        "sunglasses": listed("wears sunglasses; has sunglasses on; wears shades"),
        "glasses": listed("wears glasses; has glasses on; wears red glasses"),
        "hat": listed("wears a hat; has a hat on; wears a brown hat"),
        "crown": listed("wears a crown; has a crown on; wears a golden crown"),
        "headphones": listed("wears headphones; has headphones on; listens to music"),
        "scarf": listed("wears a scarf; has a scarf on; wears a pink scarf"),
    },
    "scene": {
        "beach": listed("stands on the beach; enjoys the beach; stands by the sea"),
        "city": listed("walks in the city; stands on the street; lives in the city"),
        "forest": listed("walks in the forest; stands in the woods; stands in the forest"),
        "space": listed("floats in space; travels in space; flies through space"),
        "mountains": listed("stands in the mountains; hikes in the mountains"),
        "desert": listed("stands in the desert; walks in the desert"),
        "library": listed("stands in the library; sits in the library; works in a library"),
        "stage": listed("stands on stage; performs on stage; is on stage"),
    },
    "action": {
        "guitar": listed("plays the guitar; plays a guitar; strums a guitar; holds a guitar"),
        "book": listed("reads a book; holds a book; is reading; reads"),
        "cup": listed("drinks coffee; sips coffee; holds a cup; drinks tea; has a cup of coffee"),
        "flowers": listed("holds flowers; holds a bouquet; carries flowers; has flowers"),
        "waving": listed("waves; waves hello; says hello; waves at us; raises a hand"),
    },
    "clothes": coloured("wears a {} shirt; wears {}; has a {} shirt on; wears a {} t-shirt"),
}
TAGS = {
    "expression": {
        "smiling": listed("smiling; smile; happy; laughing; grin; big smile; happy face"),
        "sad": listed("sad; sad face; unhappy; crying; sad expression; tears; sadness"),
        "angry": listed("angry; angry face; mad; furious; angry expression; anger"),
        "surprised": listed("surprised; shocked; surprised face; amazed; open mouth"),
        "winking": listed("winking; wink; one eye closed"),
    },
    "accessory": {
        "sunglasses": listed("sunglasses; shades; dark sunglasses"),
        "glasses": listed("glasses; red glasses; eyeglasses; spectacles"),
        "hat": listed("hat; brown hat; a hat; fedora; cowboy hat"),
        "crown": listed("crown; golden crown; a crown; gold crown"),
        "headphones": listed("headphones; headset; big headphones"),
        "scarf": listed("scarf; pink scarf; a scarf; warm scarf"),
    },
    "scene": {
        "beach": listed("beach; seaside; sea; beach background; ocean; tropical beach"),
        "city": listed("city; city street; downtown; city background; skyline; street; urban"),
        "forest": listed("forest; woods; trees; forest background; dark forest"),
        "space": listed("outer space; space; galaxy; stars; space background; cosmos"),
        "mountains": listed("mountains; snowy peaks; mountain background; mountain; snow; alps"),
        "desert": listed("desert; dunes; sand dunes; desert background; cactus; sahara"),
        "library": listed("library; bookshelves; bookshelf; library background; books"),
        "stage": listed("stage; concert stage; on stage; theatre; spotlight; concert; theater"),
    },
    "action": {
        "guitar": listed("guitar; playing guitar; a guitar; acoustic guitar; guitar player"),
        "book": listed("book; reading; reading a book; open book; a book"),
        "cup": listed("cup; coffee; cup of coffee; drinking coffee; mug; cup of tea; tea"),
        "flowers": listed("flowers; bouquet; holding flowers; roses; bouquet of flowers"),
        "waving": listed("waving; waving hand; raised hand; waving hello; greeting"),
    },
    "clothes": coloured("{} shirt; {} t-shirt; {} clothes; {} sweater; {} top; {} outfit"),
    "style": {
        "pencil sketch": listed(
            "pencil sketch; sketch; pencil drawing; drawn in pencil; pencil sketch style;"
            "graphite sketch; sketch style; hand drawn sketch; in pencil"
        ),
        "pixel art": listed(
            "pixel art; pixel art style; 8-bit; 8-bit pixel art; 16-bit pixel art; pixelated;"
            "8 bit game style; retro pixel art; in pixels"
        ),
        "old photograph": listed(
            "old photograph; old photo; vintage photograph; sepia; vintage photo; sepia photograph;"
            "sepia tone; antique photograph; vintage"
        ),
    },
}
STYLE_OPENINGS = {
    "pencil sketch": listed(
        "a sketch of {}; pencil sketch of {}; sketch of {}; pencil drawing of {};"
        "a pencil portrait of {}; a rough sketch of {}; a detailed pencil drawing of {};"
        "draw a pencil sketch of {}; a hand drawn sketch of {}"
    ),
    "pixel art": listed(
        "8-bit pixel art of {}; a pixel art image of {}; pixel art portrait of {};"
        "a pixelated image of {}; an 8-bit image of {}; retro pixel art of {};"
        "a pixel art character of {}"
    ),
    "old photograph": listed(
        "old photo of {}; an old photo of {}; a vintage photograph of {}; vintage photo of {};"
        "a sepia photograph of {}; an antique photograph of {}; a vintage portrait of {};"
        "an old picture of {}"
    ),
}
SCENE_TITLES = listed(
    "{} scene with; {} scene:; {} scene,; {}:; {} background,; scene: {},; setting: {},"
)
PAIR_FORMS = {
    "beside": listed(
        "{1} on the right and {0} on the left; {0} (left) and {1} (right); {0} together with {1};"
        "{0} on the left, {1} on the right; to the left {0}, to the right {1}; {0} & {1};"
        "{0} on the left and {1} on the right; {1} (right) and {0} (left); {0}, {1};"
        "two people: {0} and {1}; two friends, {0} and {1}; left: {0}, right: {1};"
        "{1} on the right, {0} on the left; {0} side by side with {1}; both {0} and {1};"
        "{0} standing beside {1}; {0} and {1} side by side; {0} to the left of {1};"
        "{1} to the right of {0}; {0} alongside {1}"
    ),
    "handshake": listed(
        "{0} on the left shakes hands with {1} on the right; a handshake between {0} and {1};"
        "{1} on the right shaking hands with {0} on the left; {0} and {1}, handshake;"
        "{0} greets {1} with a handshake; {0} (left) and {1} (right) shaking hands;"
        "{0} shaking the hand of {1}; {0} gives {1} a handshake; {0} meets {1} and shakes hands"
    ),
    "dinner": listed(
        "{0} on the left and {1} on the right at dinner; {0} and {1} eating together;"
        "{0} and {1} having dinner; dinner with {0} and {1}; {0} at the table with {1};"
        "{1} on the right and {0} on the left at the dinner table; {0} dines with {1};"
        "{0} and {1} sitting at a table; {0} has dinner with {1}; {0} and {1} at a restaurant;"
        "{0} (left) and {1} (right) having a meal"
    ),
}
TRIO_FORMS = {
    "beside": listed(
        "{0}, {1}, {2} together; {0} with {1} and {2}; three friends: {0}, {1} and {2};"
        "{0} on the left, {1} in the middle and {2} on the right; three people: {0}, {1} and {2};"
        "{0} (left), {1} (middle), {2} (right); {0}, {1}, {2}; {0} & {1} & {2};"
        "{2} on the right, {1} in the middle and {0} on the left; {0}, {1} and {2} side by side;"
        "{1} between {0} on the left and {2} on the right; a group photo: {0}, {1}, {2};"
        "{0} beside {1} and {2}; left: {0}, middle: {1}, right: {2}"
    ),
    "dinner": listed(
        "{0}, {1} and {2} having dinner; {0}, {1} and {2} eating together;"
        "dinner with {0}, {1} and {2}; {0} at the dinner table with {1} and {2};"
        "three friends at dinner: {0}, {1} and {2};"
        "{0} on the left, {1} in the middle and {2} on the right at dinner"
    ),
}
