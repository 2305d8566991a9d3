from __future__ import annotations

from argparse import Namespace

import pytest
import torch

from celeb_core.cli import executors
from celeb_core.cli.options import build_parser
from celeb_core.many.pools import Inline


def parse(*options: str) -> Namespace:
    return build_parser().parse_args(
        ["evaluate", "--device", "cpu", "--dtype", "float32", *options]
    )


def test_without_workers_this_process_does_all_with_all_its_threads():
    threads = torch.get_num_threads()
    with executors.executor_of(options := parse()) as (own, workers):
        assert own == options and workers is None and torch.get_num_threads() == threads


def test_one_worker_is_this_process_with_one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with executors.executor_of(options := parse("--workers", "1")) as (own, workers):
            assert own == options and workers is None and torch.get_num_threads() == 1
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("several", [("--workers", "2"), ("--engine", "ray")])
def test_workers_have_the_options_and_end_with_the_block(several, monkeypatch):
    ended = []

    class Pool(Inline):
        def start(self, work, most):
            pass

        def close(self):
            ended.append(True)

    monkeypatch.setattr(executors, "pool_of", lambda options: Pool())
    options = parse(*several, "--judge", "dlib", "--memory", "offload", "--compile")
    with pytest.raises(KeyboardInterrupt), executors.executor_of(options) as (own, workers):
        assert workers is not None and workers.work.judge == "dlib"
        more = workers.work.studio.more
        assert (more["dtype"], more["memory"], more["compiled"]) == ("float32", "offload", True)
        assert (own.device, own.dtype, own.memory, own.compiled) == ("cpu", None, None, False)
        workers.pool.start(workers.work, 1)
        raise KeyboardInterrupt
    assert ended == [True]
