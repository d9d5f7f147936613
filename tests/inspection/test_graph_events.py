"""Graph of a network for TensorBoard."""

import torch
from tensorboard.compat.proto.graph_pb2 import GraphDef
from torch import nn

from trainer.engine.build import build_run
from trainer.inspection.graph_events import graph_of, write_graph
from trainer.rundir.event_file import files_in


def test_the_graph_has_the_layers_and_measuring_it_leaves_no_trace(composed, tmp_path):
    run = build_run(composed("data=digits", "model=cnn", "norm=batch", "reg=dropout", "threads=1", "device=cpu"))
    run.model.train()
    generator, state = torch.get_rng_state(), {name: one.clone() for name, one in run.model.state_dict().items()}
    nodes = GraphDef.FromString(graph_of(run)).node
    assert sum("Conv2d" in node.name for node in nodes) > 1 and any("Linear" in node.name for node in nodes)
    assert torch.equal(generator, torch.get_rng_state()) and run.model.training
    assert all(torch.equal(one, run.model.state_dict()[name]) for name, one in state.items())
    assert write_graph(run, tmp_path) and len(files_in(tmp_path)) == 1


class Untraceable(nn.Module):
    def forward(self, images):
        raise RuntimeError("cannot be traced")


def test_a_network_that_cannot_be_traced_has_none(composed, tmp_path, capsys):
    from dataclasses import replace

    run = build_run(composed("data=iris", "model=linear", "threads=1", "device=cpu"))
    assert not write_graph(replace(run, model=Untraceable()), tmp_path) and not files_in(tmp_path)
    assert capsys.readouterr() == ("", "")
