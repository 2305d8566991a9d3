"""Who can be mixed, and a prompt about somebody who stands between others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import gradio as gr
from torch import Tensor

from celeb_core import CelebError, Identity, SampleConfig, parse_prompt
from celeb_core.prompt import encode_prompt
from ui.drawing_job import DrawJob, Order
from ui.errors import explain, notice
from ui.studio import Shared
from ui.workspace import Workspace

MIX = "mix"  # the name of the mixture in a prompt


def choices(shared: Shared, session: str) -> list[str]:
    """The people of the library as <name>, then the celebrities."""
    core = shared.core
    people = [f"<{name}>" for name in shared.workspace(session).people()]
    return people + list(core.models.names or core.basis.names)


def refilled(
    chosen: Sequence[str | None], known: Sequence[str], first: Iterable[str] = ()
) -> list[Any]:
    """Lists of people as they are now: who was chosen stays chosen, and nobody is twice.

    Empty places get those of `first`, then celebrities.
    """
    taken = {choice for choice in chosen if choice in known}
    famous = (choice for choice in known if not choice.startswith("<"))
    free = (choice for choice in dict.fromkeys([*first, *famous]) if choice not in taken)
    return [
        gr.update(choices=list(known), value=choice if choice in known else next(free, None))
        for choice in chosen
    ]


def somebody(choice: str, workspace: Workspace) -> str | Identity:
    """“<ada>” is of the library, anything else a celebrity's name. Raises UnknownName."""
    if not choice.startswith("<"):
        return choice
    identities = parse_prompt(choice, workspace.people()).identities
    person = next(iter(identities.values()))
    assert isinstance(person, Identity)
    return person


def check_text(text: str) -> str:
    """The prompt without spaces around it. Raises CelebError if it has no place for a person."""
    if "{}" not in text:
        raise CelebError("Write {} where the person should be, as in “a photo of {}”.")
    return text.strip()


def order(
    words: Tensor, text: str, seed: int | None, label: str, settings: Mapping[str, Any]
) -> Order:
    """A picture of whoever has these words (k, d)."""
    prompt = parse_prompt(text.replace("{}", f"<{MIX}>"), {MIX: words})
    return Order(prompt, SampleConfig(seed=int(seed or 0)), label, {"prompt": text, **settings})


def submit(
    kind: type[DrawJob],
    shared: Shared,
    workspace: Workspace,
    make_orders: Callable[[], Sequence[Order]],
    **more: Any,
) -> str:
    """Queue a drawing of its own kind -> what is wrong, if something is (HTML).

    What is wrong with the people or the prompt is said now, not when its turn has come.
    """
    core = shared.core
    try:
        orders = make_orders()
        encode_prompt(orders[0].prompt, core.basis, core.models)
    except CelebError as error:
        return notice(explain(error))
    shared.runner.submit(
        kind(
            owner=workspace.id,
            core=core,
            workspace=workspace,
            orders=orders,
            scored=False,
            **more,
        )
    )
    return ""


def percent(share: float) -> str:
    """A share as people read it."""
    return f"{100 * share:.0f} %"
