import hashlib
from itertools import product

import numpy as np
import pytest
import torch
from safetensors.torch import save
from torch import nn

from splitplace.splitting.networks import Front
from splitplace.splitting.semantic.branches import Batch, grow_fragments
from splitplace.training.families.build import build
from splitplace.training.loop import checkpoint
from splitplace.training.loop.fit import fit
from splitplace.training.loop.losses import cross_entropy
from splitplace.training.network import SplitNetwork
from splitplace.training.preset import load_preset
from splitplace.training.recipes.regularisers import disjointness, evenness, group_split, merged
from splitplace.training.recipes.splitnet import GroupLearning, Learned, SplitNet, in_blocks, rounded

ONE_HOT = torch.eye(2)
UNIFORM = torch.full((2, 2), 0.5)


def test_weights_inside_groups_cost_nothing():
    """R_W of a block-diagonal weight, assignments as its blocks, is zero up to the root's guard."""
    assert group_split(torch.tensor([[2.0, 0.0], [0.0, 2.0]]), ONE_HOT, ONE_HOT) == pytest.approx(0, abs=1e-5)


def test_weights_between_groups_cost_their_norms():
    """All of the energy crosses: four norms of √2, over the size a norm has by chance.

    By hand: rows Σ = 2√2, over I√O = 2√2, is 1; columns alike; together 2, over 2 (G - 1) / G = 1.
    """
    assert group_split(torch.tensor([[0.0, 2.0], [2.0, 0.0]]), ONE_HOT, ONE_HOT) == pytest.approx(2, rel=1e-5)


def test_half_of_the_weights_between_groups():
    """Each of four norms is 1. By hand: (2 / 2√2 + 2 / 2√2) / 1 = √2 / 1."""
    assert group_split(torch.ones(2, 2), ONE_HOT, ONE_HOT) == pytest.approx(2**0.5, rel=1e-5)


def test_the_regularisers_of_uniform_assignments_are_one():
    """What the normalisers are for, at any size and number of groups."""
    for groups, outputs, inputs in product((2, 4), (8, 12), (4, 20)):
        q_GO, p_GI = torch.full((groups, outputs), 1 / groups), torch.full((groups, inputs), 1 / groups)
        assert group_split(torch.ones(outputs, inputs), q_GO, p_GI) == pytest.approx(1, rel=1e-5)
        assert disjointness(p_GI) == pytest.approx(1)
        assert evenness(p_GI) == pytest.approx(1)


def test_disjoint_groups_do_not_overlap():
    """R_D by hand: one column (.8, .2), one (0, 1): p_1 · p_2 = .16, over 2 · (2 - 1) / (2 · 2) = .5."""
    assert disjointness(ONE_HOT) == pytest.approx(0)
    assert disjointness(torch.tensor([[0.8, 0.0], [0.2, 1.0]])) == pytest.approx(0.32)


def test_uneven_groups_cost():
    """R_E by hand: sums 3 and 1 give 9 + 1, over 4² / 2 = 8; all in one group is worth the number of groups."""
    assert evenness(torch.tensor([[1.0, 1.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]])) == pytest.approx(1.25)
    assert evenness(torch.tensor([[1.0, 1.0], [0.0, 0.0]])) == pytest.approx(2)


def test_parents_are_the_sums_of_their_children():
    """Children 0 and 1 are the first parent's, 2 and 3 the second's."""
    p_GC = torch.tensor([[0.1, 0.7], [0.2, 0.1], [0.3, 0.1], [0.4, 0.1]])
    torch.testing.assert_close(merged(p_GC, 2), torch.tensor([[0.3, 0.8], [0.7, 0.2]]))


def planted(groups: int = 2, each: int = 8, between: float = 0.1) -> tuple[nn.Sequential, dict[str, np.ndarray]]:
    """Two hidden layers and logits of hidden groups, in a shuffled order; weights between them are so much smaller."""
    rng = np.random.default_rng(4)
    torch.manual_seed(4)
    width = groups * each
    network = nn.Sequential()
    network.add_module("front", Front((0.3,) * 3, (0.3,) * 3))
    network.add_module("stem", nn.Conv2d(3, 8, 1))
    network.add_module("first", nn.Sequential(nn.Conv2d(8, width, 1), nn.ReLU()))
    network.add_module("second", nn.Sequential(nn.Conv2d(width, width, 1), nn.ReLU()))
    network.add_module("head", nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, groups * 3)))
    sizes = {"first.0": width, "second.0": width, "head.2": groups * 3}
    owner = {name: rng.permutation(np.arange(size) % groups) for name, size in sizes.items()}
    with torch.no_grad():
        for name, reads in (("second.0", "first.0"), ("head.2", "second.0")):
            inside = torch.from_numpy(owner[name][:, None] == owner[reads][None])
            weight = network.get_submodule(name).weight
            weight.mul_(torch.where(inside, 1.0, between).reshape(inside.shape + (1,) * (weight.ndim - 2)))
    return network, owner


def zero_between(net: SplitNet, learned: Learned) -> int:
    """Zero every weight from one group's channel to another's; how many these were."""
    leaves, zeroed = int(np.prod(net.shape)), 0
    for layer in net.layers:
        weight = net.network.get_submodule(layer.name).weight
        sides = []
        for side, size in ((layer.writes, weight.shape[0]), (layer.reads, weight.shape[1])):
            group = np.full(size, -1)
            for piece in side:
                owners = learned.owners[piece.channel_set][list(piece.channels)]
                group[list(piece.positions)] = owners // (leaves // layer.groups)
            sides.append(group)
        out, into = sides[0][:, None], sides[1][None]
        crosses = (out != into) & (out >= 0) & (into >= 0)
        with torch.no_grad():
            weight[torch.from_numpy(crosses)] = 0
        zeroed += int(crosses.sum())
    return zeroed


def learned_from(network: nn.Sequential, cuts: tuple[str, ...], shape: tuple[int, ...], image: torch.Tensor, **changed):
    """Assignments fitted to the weights as they are."""
    net = SplitNet(network, image, cuts, shape, seed=0)
    recipe = load_preset("quick").splitnet.changed(**changed)
    learning = GroupLearning(net, recipe)
    learning.optimizer = torch.optim.Adam(net.columns, lr=recipe.assign_rate)
    for step in range(recipe.assign_steps):
        learning.fit(step / recipe.assign_steps)
    return net, net.learned()


def test_planted_groups_are_found():
    """Channels and classes of one hidden group end up in one group, at every layer; what is left between is noise."""
    network, owner = planted()
    _, learned = learned_from(network, ("first",), (2,), torch.rand(2, 3, 4, 4))
    same = [np.array_equal(learned.owners[name], hidden) for name, hidden in owner.items()]
    swapped = [np.array_equal(learned.owners[name], 1 - hidden) for name, hidden in owner.items()]
    assert all(same) or all(swapped)
    assert learned.off_group_energy < 0.02
    assert {tuple(np.flatnonzero(owner["head.2"] == g)) for g in (0, 1)} == {
        child.classes for child in learned.tree.children
    }


def test_assignments_start_undecided():
    """Before the weights were looked at, columns are uniform but for noise: R_D is at its largest."""
    network, _ = planted()
    net = SplitNet(network, torch.rand(2, 3, 4, 4), ("first",), (2,), seed=0)
    for p_GC in net.assignments().values():
        assert float(disjointness(p_GC)) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(("shape", "cuts"), [((4,), ("blocks5",)), ((2, 2), ("blocks5", "blocks6"))])
def test_slicing_by_learned_groups_keeps_what_no_weight_led_between(shape, cuts):
    """With the weights between groups at zero, the tree answers as the network did: parents contain their children."""
    torch.manual_seed(3)
    network = build("mobilenetv2", 8, (1, 28, 28), ((0.3,), (0.3,)), (2,)).eval()
    image = torch.randint(0, 256, (8, 1, 28, 28), dtype=torch.uint8)
    net, learned = learned_from(network, cuts, shape, image, assign_steps=10)
    assert zero_between(net, learned) > 0
    assert net.learned().off_group_energy == pytest.approx(0, abs=1e-6)
    batches = [Batch(image, torch.arange(8))]
    fragments = grow_fragments(net.network, cuts, learned.tree, batches, "image", owners=learned.owners)
    assert sorted(c for fragment in fragments for c in fragment.classes) == list(range(8))
    with torch.no_grad():
        torch.testing.assert_close(SplitNetwork(fragments, "image").eval()(image), net(image), rtol=0, atol=1e-5)


class Watched:
    """Stage 1 of a planted network whose weights lead between groups, 18 steps, with or without the pull of R_W.

    Args:
        pull: Whether the loss is SplitNet's; else it is cross-entropy alone, and all else as before.
        data: Images.
        folder: For what training leaves.
    """

    def __init__(self, pull, data, folder):
        network, _ = planted(between=0.8)
        self.net = SplitNet(network, torch.from_numpy(data.x_train_NCHW[:2]), ("first",), (2,), seed=0)
        recipe = load_preset("quick").splitnet.changed(batch_size=16, epochs=3, assign_steps=100, augment=())
        learning = GroupLearning(self.net, recipe)
        self.plain, self.pulled = cross_entropy(recipe), learning.loss(cross_entropy(recipe))
        self.loss = self.pulled if pull else self.plain
        self.energies, self.strengths, self.assigned = [], [], []
        fit(self.net, self.watched, data, recipe, 0, folder, "this", callbacks=[learning])
        self.energies.append(self.net.learned().off_group_energy)

    def watched(self, *batch):
        """The loss, after a look at where things stand; γ_W is what the pull costs, over R_W."""
        with torch.no_grad():
            split_loss = self.net.split_loss(self.net.energies(), self.net.assignments())
            self.strengths.append(float((self.pulled(*batch) - self.plain(*batch)) / split_loss))
        self.energies.append(self.net.learned().off_group_energy)
        self.assigned.append(torch.cat([column_GC.flatten() for column_GC in self.net.columns]))
        return self.loss(*batch)


@pytest.fixture(scope="module")
def pulled(make_squares, tmp_path_factory):
    """Stage 1 as it is."""
    return Watched(True, make_squares(n_classes=6, channels=3), tmp_path_factory.mktemp("pulled"))


@pytest.mark.slow
def test_the_pull_empties_what_leads_between_groups(pulled, make_squares, tmp_path):
    """Over a third of the energy is off-group at the start; R_W takes nearly all of it, cross-entropy alone none."""
    plain = Watched(False, make_squares(n_classes=6, channels=3), tmp_path)
    assert plain.energies[0] == pulled.energies[0] > 0.3
    assert plain.energies[-1] > 0.9 * plain.energies[0]
    assert pulled.energies[-1] < 0.1 * pulled.energies[0]


@pytest.mark.slow
def test_the_pull_grows_to_its_full_strength_over_half_of_stage_1(pulled):
    """γ_W of the quick preset is 8: from nothing, by 8/9 a step, to 8 after nine of eighteen."""
    assert pulled.strengths == pytest.approx([min(8.0, 8 * step / 9) for step in range(18)], rel=1e-3, abs=1e-3)


@pytest.mark.slow
def test_assignments_follow_every_fourth_step_of_the_first_half(pulled):
    """P and Q move before steps 4 and 8 (and before the first), then stay."""
    moved = [not torch.equal(a, b) for a, b in zip(pulled.assigned, pulled.assigned[1:], strict=False)]
    assert [step + 1 for step, did in enumerate(moved) if did] == [4, 8]


@pytest.mark.slow
def test_killed_while_it_learns_groups_it_ends_as_if_it_had_not_been(make_squares, tmp_path, monkeypatch):
    """In the fourth of twelve steps, before P and Q move on with their optimizer's moments; equal hashes at the end."""
    monkeypatch.setattr(checkpoint, "EVERY_S", 0.0)
    data = make_squares(n_classes=6, channels=3)

    class KilledError(Exception):
        pass

    def learn(folder, steps=12):
        """The hash of all weights and assignments after stage 1, killed after so many steps of it."""
        network, _ = planted(between=0.8)
        net = SplitNet(network, torch.from_numpy(data.x_train_NCHW[:2]), ("first",), (2,), seed=0)
        recipe = load_preset("quick").splitnet.changed(batch_size=16, epochs=2, assign_steps=20)
        learning = GroupLearning(net, recipe)
        inner, left = learning.loss(cross_entropy(recipe)), iter(range(steps))

        def loss(*batch):
            if next(left, None) is None:
                raise KilledError
            return inner(*batch)

        fit(net, loss, data, recipe, 0, folder, "this", callbacks=[learning])
        return hashlib.sha256(save({key: value.contiguous() for key, value in net.state_dict().items()})).hexdigest()

    unbroken = learn(tmp_path / "unbroken")
    with pytest.raises(KilledError):
        learn(tmp_path / "broken", steps=3)
    assert learn(tmp_path / "broken", steps=9) == unbroken


@pytest.mark.parametrize(
    ("sizes", "found"),
    [
        ([8, 8], [8, 8]),
        ([7, 9], [8, 8]),
        ([1, 31], [4, 28]),
        ([5, 6, 6, 7], [4, 4, 8, 8]),
        ([5, 8], [4, 9]),
        ([2, 1, 1, 2], [2, 1, 1, 2]),
    ],
)
def test_groups_are_of_whole_blocks(sizes, found):
    """As many channels as before, about as many each; what makes no block goes to the largest; few stay as they are."""
    assert sorted(in_blocks(np.array(sizes), 4).tolist()) == sorted(found)
    assert sum(found) == sum(sizes)


@pytest.mark.parametrize("block", [1, 4])
def test_channels_are_rounded_to_groups_as_probable_as_they_can_be(block):
    """Against every division of eight channels in two groups of whole blocks, or of any size but none."""
    p_GC = np.random.default_rng(3).random((2, 8))
    likely = p_GC.argmax(0)
    divisions = [np.array(d) for d in product((0, 1), repeat=8) if 0 < sum(d) < 8 and sum(d) % block == 0]
    group_C = rounded(p_GC, block)
    assert sum(p_GC[group_C, range(8)]) == pytest.approx(max(sum(p_GC[d, range(8)]) for d in divisions))
    assert block == 4 or (group_C == likely).all()
