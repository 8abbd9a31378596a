"""Joined networks: what they make of their members, in every form, and the command."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.cli import main
from pipeline.errors import InputError, WeightsError
from stages.embed.checkpoint import embedding_only, load_network, save_network
from stages.embed.networks.catalogue import build_network
from stages.embed.networks.joined import Joined, JoinedConfig
from stages.embed.networks.smplgait import SMPLGait, SMPLGaitConfig
from stages.embed.networks.smplrows import SMPLRows, SMPLRowsConfig
from stages.embed.parts import FramePart, HeadPart
from stages.embed.training.cohort import one_of_each, with_cohort

HALVE_WEIGHTS = Path(__file__).parents[3] / "scripts" / "halve_weights.py"
SMPLGAIT = {"channels": [4, 4, 4], "out_channels": 6, "unit": True}
SMPLROWS = {"width": 8, "pooled": 12, "depth": 1, "out_channels": 6}
GLN = {"channels": [4, 4, 4], "lateral_channels": 8, "out_channels": 6, "unit": True}
BOTH = ({"network": "smplgait", "config": SMPLGAIT}, {"network": "smplrows", "config": SMPLROWS})


def network(members: tuple[dict[str, Any], ...] = BOTH, **settings: Any) -> Joined:
    torch.manual_seed(0)
    built = build_network("joined", {"members": list(members), **settings}).eval()
    assert isinstance(built, Joined)
    return built


def inputs(n: int = 3, s: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    return torch.rand(n, s, 64, 44), torch.randn(n, s, 85)


def vectors(net: torch.nn.Module, *given: torch.Tensor, **more: Any) -> torch.Tensor:
    found: torch.Tensor = net(*given, **more)["inference_feat"]["embeddings"]
    return found


def alike(embeddings: torch.Tensor) -> torch.Tensor:
    unit = torch.nn.functional.normalize(embeddings.flatten(1), dim=1)
    return unit @ unit.T


def test_golden_similarities_are_averaged_by_share() -> None:
    net, (sils, theta) = network(shares=[3, 1]), inputs()
    assert net.config.shares == (0.75, 0.25)
    assert net.reads == ("silhouettes", "theta") and net.silhouette_hw == (64, 44)
    gait, rows = vectors(net.members[0], sils, theta), vectors(net.members[1], theta)
    found = vectors(net, sils, theta)
    assert found.shape == (3, *net.vector_shape) and net.vector_shape == (6 * 31 + 6, 1)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(3, 1))
    torch.testing.assert_close(alike(found), 0.75 * alike(gait) + 0.25 * alike(rows))


@pytest.mark.parametrize("third", [None, {"network": "gaitgln", "config": GLN}])
def test_parity_parts_make_the_whole(third: dict[str, Any] | None) -> None:
    net = network(BOTH if third is None else (*BOTH, third))
    sils, theta = inputs()
    pixels = (sils * 255).round().to(torch.uint8)
    want = vectors(net, pixels / 255.0, theta)
    features = FramePart(net)(pixels.flatten(0, 1), theta.flatten(0, 1))
    assert len(features) == net.feature_count
    pooled = [feature.unflatten(0, (3, 5)).amax(1) for feature in features]
    torch.testing.assert_close(HeadPart(net)(*pooled), want)


def test_parity_sequences_laid_end_to_end() -> None:
    net, (sils, theta) = network(), inputs(1, 7)
    packed = vectors(net, sils, theta, lengths=[4, 3])
    apart = [vectors(net, sils[:, part], theta[:, part]) for part in (slice(4), slice(4, 7))]
    torch.testing.assert_close(packed, torch.cat(apart))


def test_property_without_bodies_only_silhouettes_count() -> None:
    net, (sils, _) = network(), inputs()
    found = vectors(net, sils)
    torch.testing.assert_close(found[:, -6:], found[:1, -6:].expand(3, -1, -1))
    features = FramePart(net, use_smpl=False)((sils * 255).to(torch.uint8).flatten(0, 1))
    assert all(feature.isfinite().all() for feature in features)
    assert (alike(found) < 1.0 - 1e-6).any()


def test_smoke_classes_projection_and_what_training_alone_reads() -> None:
    sils, theta = inputs(4)
    net = network(class_num=5).train()
    found = net(sils, theta, labels=torch.arange(4))
    assert found["training_feat"]["softmax"]["logits"].shape == (4, 5, 1)
    assert found["visual_summary"]["image/sils"].shape == (20, 1, 64, 44)
    slim = embedding_only(net)
    assert slim.config.class_num == 0
    torch.testing.assert_close(vectors(slim, sils, theta), vectors(net.eval(), sils, theta))
    net.drop_training_parts()
    assert "softmax" not in net(sils, theta)["training_feat"]
    assert vectors(network(projection=9), sils, theta).shape == (4, 9, 1)


def test_golden_a_file_holds_all_of_it(tmp_path: Path) -> None:
    net, given = network(shares=[0.8, 0.2]), inputs()
    wrote = save_network(tmp_path / "both.safetensors", net)
    again, read = load_network(tmp_path / "both.safetensors", "joined")
    assert wrote == read and again.config == net.config
    torch.testing.assert_close(vectors(again, *given), vectors(net, *given), rtol=0, atol=0)
    assert save_network(tmp_path / "again.safetensors", again) == wrote


def test_golden_a_member_can_be_taken_out_again(tmp_path: Path) -> None:
    whole, made = network(), tmp_path / "both.safetensors"
    save_network(made, whole)
    member_of = runpy.run_path(str(HALVE_WEIGHTS))["member_of"]
    alone = member_of(made, "smplgait")
    torch.testing.assert_close(alone.state_dict(), whole.members[0].state_dict(), rtol=0, atol=0)
    with pytest.raises(WeightsError, match="0 members gaitgln, wanted one; its members: smplgait"):
        member_of(made, "gaitgln")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"members": BOTH[:1]}, "2 to 8 members"),
        ({"members": "smplgait"}, "members must be a list"),
        ({"members": (BOTH[0], {"network": "resgcn"})}, "a network and a config"),
        ({"members": (BOTH[0], {"network": "joined", "config": {}})}, "a member is one of"),
        ({"members": BOTH, "shares": (1,)}, "shares must be 2 positive numbers"),
        ({"members": BOTH, "shares": (1, -1)}, "shares must be 2 positive numbers"),
        ({"members": BOTH, "class_num": 2, "projection": 3}, "leave one of them out"),
    ],
)
def test_exception_configs(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        JoinedConfig(**settings)


@pytest.mark.parametrize(
    ("member", "said"),
    [
        ({"network": "resgcn", "config": {}}, "resgcn reads whole windows"),
        ({"network": "smplrows", "config": {**SMPLROWS, "class_num": 3}}, "has classes"),
        ({"network": "smplgait", "config": {**SMPLGAIT, "height": 128}}, "several sizes"),
    ],
)
def test_exception_members_that_do_not_go_together(member: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        network((BOTH[0], member))


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    torch.manual_seed(2)
    gait, rows = tmp_path / "gait.safetensors", tmp_path / "rows.safetensors"
    save_network(gait, SMPLGait(SMPLGaitConfig(**{**SMPLGAIT, "class_num": 4})))  # type: ignore[arg-type]
    save_network(rows, SMPLRows(SMPLRowsConfig(**SMPLROWS)))
    return gait, rows


def test_replay_command_joins_what_files_hold(
    files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "both.safetensors"
    words = ["join", "--weights", *map(str, files), "--shares", "0.8", "0.2", "--out", str(out)]
    assert main(words) == 0
    net, weights_hash = load_network(out, "joined")
    said = capsys.readouterr().out
    assert "80% gait.safetensors, 20% rows.safetensors" in said and weights_hash in said
    rows, _ = load_network(files[1], "smplrows")
    assert isinstance(net, Joined)
    given = inputs()
    np.testing.assert_array_equal(
        vectors(net.members[1], given[1]).detach(), vectors(rows, given[1]).detach()
    )
    assert main(words) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main([*words, "--overwrite"]) == 0


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--weights", "gait", "rows", "--shares", "1"], 2, "want as many shares"),
        (["--weights", "gait", "rows", "--shares", "1", "nan"], 1, "shares must be 2 positive"),
        (["--weights", "gait"], 1, "2 to 8 members"),
        (["--weights", "gait", "none"], 1, "none.safetensors"),
    ],
)
def test_exception_command(
    files: tuple[Path, Path],
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    code: int,
    said: str,
) -> None:
    folder = files[0].parent
    named = [str(folder / f"{w}.safetensors") if w.isalpha() and w != "nan" else w for w in words]
    assert main(["join", *named, "--out", str(folder / "out.safetensors")]) == code
    error = capsys.readouterr().err
    assert said in error and "Traceback" not in error
    assert not (folder / "out.safetensors").exists()


def with_crowd(**settings: Any) -> tuple[Joined, torch.Tensor]:
    """A network with a cohort, and embeddings of the same without."""
    net, (sils, theta) = network(**settings), inputs(20)
    crowd = vectors(net, sils, theta).detach()
    return with_cohort(net, crowd.numpy()), crowd


def test_golden_lengths_say_how_crowded_a_place_is() -> None:
    grown, crowd = with_crowd()
    given = inputs(20)
    found = vectors(grown, *given)
    torch.testing.assert_close(torch.nn.functional.normalize(found, dim=1), crowd)
    similar = alike(crowd)
    gap = 1 - similar.topk(1).values.mean(1)  # one of twenty: itself, and nothing between
    assert (gap < 1e-3).all()
    others = 1 - (similar - 2 * torch.eye(20)).topk(1).values.mean(1)
    want = torch.sqrt(others.mean() / 1e-3)
    torch.testing.assert_close(found.norm(dim=1).flatten(), want.expand(20))
    some = torch.nn.functional.normalize(torch.randn(7, len(crowd[0]), 1), dim=1)
    scale = grown.local_scaling
    assert scale is not None
    nearest = (some.flatten(1) @ crowd.flatten(1).T).amax(1)
    want = torch.sqrt(others.mean() / (1 - nearest))
    torch.testing.assert_close(scale(some).norm(dim=1).flatten(), want)


def test_golden_a_cohort_is_in_the_file_and_changes_with_nothing_else(tmp_path: Path) -> None:
    grown, _ = with_crowd(projection=9)
    save_network(tmp_path / "grown.safetensors", grown)
    again, _ = load_network(tmp_path / "grown.safetensors", "joined")
    assert again.config == grown.config and grown.config.cohort == 20
    given = inputs()
    torch.testing.assert_close(vectors(again, *given), vectors(grown, *given), rtol=0, atol=0)
    with pytest.raises(ValueError, match="a network that has none"):
        with_cohort(grown, np.zeros((4, 9, 1), np.float32))
    with pytest.raises(ValueError, match="expected \\(192, 1\\)"):
        with_cohort(network(), np.zeros((4, 9, 1), np.float32))
    for people, said in ((-1, "must lie in"), (1, "nobody who is near"), (2.5, "must lie in")):
        with pytest.raises(ValueError, match=said):
            JoinedConfig(cohort=people)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="leave it or the classes out"):
        JoinedConfig(cohort=4, class_num=3)


def test_shape_a_cohort_is_drawn_evenly_and_from_all_walks() -> None:
    entries = [(place, f"p{place // 3}") for place in range(30)]
    assert one_of_each(entries, 5) == [0, 7, 14, 18, 25]
    assert len(set(one_of_each(entries, 10))) == 10
    with pytest.raises(InputError, match="hold 10 people, a cohort of 11"):
        one_of_each(entries, 11)


def test_replay_command_puts_a_cohort_behind_a_network(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "S"
    people = ("--identities", "3", "--views", "1", "--conditions", "nm:1", "--frames", "4")
    assert main(["synth", "--out", str(data), *people, "--workers", "1"]) == 0
    plain, out = tmp_path / "plain.safetensors", tmp_path / "out.safetensors"
    save_network(plain, network())
    words = ["cohort", "--weights", str(plain), "--data", str(data), "--device", "cpu"]
    assert main([*words, "--people", "3", "--out", str(out)]) == 0
    assert load_network(out, "joined")[0].config.cohort == 3
    assert "a cohort of 3 people" in capsys.readouterr().err
    shared = [*words, "--people", "3", "--shares", "9", "1", "--out", str(out), "--overwrite"]
    assert main(shared) == 0
    net, _ = load_network(out, "joined")
    assert isinstance(net, Joined) and net.config.shares == (0.9, 0.1)
    capsys.readouterr()
    again = ["cohort", "--weights", str(out), "--data", str(data), "--out", str(out)]
    for wrong, code, said in (
        ([*words, "--people", "3", "--out", str(out)], 2, "--overwrite"),
        ([*words, "--shares", "1", "--out", str(tmp_path / "x.safetensors")], 2, "2 positive"),
        ([*words, "--people", "1", "--out", str(out)], 2, "--people must lie in 2..4096"),
        ([*words, "--people", "4", "--out", str(tmp_path / "x.safetensors")], 1, "hold 3 people"),
        ([*again, "--overwrite"], 1, "have a cohort of 3"),
    ):
        assert main(wrong) == code
        error = capsys.readouterr().err
        assert said in error and "Traceback" not in error


def test_exception_a_cohort_behind_another_network(
    files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--data", str(tmp_path), "--out", str(tmp_path / "x.safetensors")]
    assert main(["cohort", "--weights", str(files[1]), *out]) == 1
    assert "only joined ones take a cohort" in capsys.readouterr().err
