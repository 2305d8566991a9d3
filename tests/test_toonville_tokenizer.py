"""The tokenizer: whole names, and CLIP's numbering."""

from __future__ import annotations

from collections import Counter

from toonville.names import make_names
from toonville.tokenizer import CONTEXT_LENGTH, train_tokenizer


def test_tokenizer_has_whole_names_and_the_highest_end_token() -> None:
    names = make_names()
    tokenizer = train_tokenizer(names)
    assert tokenizer.eos_token_id == len(tokenizer) - 1 == max(tokenizer.get_vocab().values())
    assert tokenizer.eos_token_id != 2
    lengths = Counter(
        len(tokenizer(name, add_special_tokens=False).input_ids) for name in names.known
    )
    assert lengths[2] > 0.75 * 700 and lengths[1] > 0 and lengths[3] > 0
    row = tokenizer("a photo of Nobody 12 é", padding="max_length").input_ids
    assert len(row) == CONTEXT_LENGTH
    assert tokenizer.unk_token_id not in row[1 : row.index(tokenizer.eos_token_id)]
