"""Views and SimCLR: draws of one's own, a loss that stays finite, no look outside training, runs that resume to the same bits."""
import io
import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from drugnb.core.settings import InputError
from drugnb.morphology.augment import (
    Views,
    blurred,
    erased,
    lit,
    moved,
    standardised,
    turned,
    view,
    without_channels,
)
from drugnb.morphology.features import Scale, without_intensity
from drugnb.morphology.simclr import (
    Learned,
    Recipe,
    batch_count,
    build_network,
    candidates,
    draw_partners,
    figure_loss,
    find_partners,
    learning_rate,
    load_arrays,
    load_encoder,
    nt_xent,
    partners_of,
    pretrained,
    save_arrays,
    train,
    untrained,
)

torch = pytest.importorskip("torch")
STILL = Views(flip=0, rotate=0, shift=0, blur=0, noise=0)
ALL = Views(zoom=1.2, stretch=1.1, shift=0.1, gain=0.2, offset=0.1, erase=0.4, drop=0.3)
QUICK = Recipe(epochs=4, batch=16, dim=8, orientations=1)
STAINS = ("DNA", "Golgi")

def generator(seed=0): return torch.Generator().manual_seed(seed)
def noise(*shape, seed=0): return torch.rand(*shape, generator=generator(seed))

def world(n=8, size=16, seed=0, channels=2):
    "Three plates of two wells of n images; treated cells are larger."
    rng = np.random.default_rng(seed)
    rows = [(f"P{p}", f"B0{w}") for p in (1, 2, 3) for w in (2, 3) for _ in range(n)]
    images = pd.DataFrame(rows, columns=["plate", "well"])
    images["untreated"] = images.well == "B02"
    images["condition"] = np.where(images.untreated, "DMSO", "drug 1 µM")
    images.index = [f"image {k}" for k in range(len(images))]
    yy, xx = np.mgrid[:size, :size]/size - 0.5
    width = np.where(images.untreated, 0.12, 0.2)[:, None, None]
    blob = np.exp(-(xx**2 + yy**2)/2/width**2)
    pixels = blob[:, None]*(1 + rng.random((len(images), channels)))[..., None, None]
    return (500*pixels + 20*rng.random(pixels.shape)).astype(np.float32), images

@pytest.fixture(scope="module")
def cells(): return world()

@pytest.fixture(scope="module")
def trained(cells): return train(*cells, STAINS, QUICK)

# views

@pytest.mark.parametrize("channels", [1, 3, 6])
@pytest.mark.parametrize("shape", [(16, 16), (16, 24)])
def test_a_generator_gives_its_views_again_and_other_ones_next_time(channels, shape):
    x, g = noise(5, channels, *shape), generator()
    first, second = view(x, ALL, g), view(x, ALL, g)
    assert first.shape == x.shape and torch.equal(first, view(x, ALL, generator()))
    assert all(not torch.allclose(a, b) for a, b in zip(first, second, strict=True))

def test_no_image_uses_another_s_draw():
    x = noise(6, 3, 16, 16)
    other = x.clone()
    other[2] = noise(3, 16, 16, seed=9)
    a, b = view(x, ALL, generator()), view(other, ALL, generator())
    assert torch.equal(a[[0, 1, 3, 4, 5]], b[[0, 1, 3, 4, 5]]) and not torch.equal(a[2], b[2])
    same = view(x[:1].expand(6, -1, -1, -1), ALL, generator())
    assert all(not torch.allclose(same[i], same[j]) for i in range(6) for j in range(i))

def test_views_of_nothing_are_the_images():
    x = noise(4, 2, 16, 16)
    assert torch.equal(view(x, STILL, generator()), x)

@pytest.mark.parametrize("name", ["flip", "rotate", "shift", "blur", "noise", "gain", "offset", "erase", "drop"])
def test_each_step_changes_images_by_itself(name):
    x = noise(8, 2, 16, 16)
    assert not torch.equal(view(x, replace(STILL, **{name: 0.5}), generator()), x)

def test_changing_one_setting_leaves_the_other_draws():
    x = noise(4, 2, 16, 16)
    flips = view(x, replace(STILL, flip=0.5), generator())
    both = view(x, replace(STILL, flip=0.5, erase=0.6), generator())
    assert torch.equal(both[both != 0], flips[both != 0])

def test_flips_move_pixels_and_change_nothing_else():
    x = noise(64, 2, 8, 8)
    y = turned(x, noise(64, 3, seed=1), 0.5)
    assert torch.equal(x.flatten(2).sort().values, y.flatten(2).sort().values)
    assert torch.allclose(x.mean((2, 3)), y.mean((2, 3)))
    assert torch.equal(x.square().sum(1).flatten(1).sort().values, y.square().sum(1).flatten(1).sort().values), "channels go together"
    one = turned(x[:1].expand(200, -1, -1, -1), noise(200, 3, seed=2), 0.5)
    assert len({tuple(k.flatten().tolist()) for k in one}) == 8

def test_axes_of_unequal_length_are_not_exchanged():
    x = noise(1, 1, 4, 6).expand(100, -1, -1, -1)
    assert len({tuple(k.flatten().tolist()) for k in turned(x, noise(100, 3, seed=2), 0.5)}) == 4

def middle(**at):
    "Uniform draws that move nothing, save for those named."
    u = torch.full((1, 5), 0.5)
    for name, value in at.items(): u[0, ["rotate", "zoom", "stretch", "across", "down"].index(name)] = value
    return u

def test_a_quarter_turn_a_zoom_and_a_shift_are_what_they_say():
    x = noise(1, 2, 12, 12)
    quarter = moved(x, middle(rotate=1.0), Views(rotate=90))
    assert torch.allclose(quarter, x.rot90(1, (2, 3)), atol=1e-4) or torch.allclose(quarter, x.rot90(-1, (2, 3)), atol=1e-4)
    shifted = moved(x, middle(across=1.0), Views(rotate=0, shift=0.25))
    assert torch.allclose(shifted[..., :9], x[..., 3:], atol=1e-4)
    down = moved(x, middle(down=0.0), Views(rotate=0, shift=0.25))
    assert torch.allclose(down[..., 3:, :], x[..., :9, :], atol=1e-4)
    yy, xx = np.mgrid[:32, :32] - 15.5
    disc = torch.tensor(np.hypot(xx, yy) < 6, dtype=torch.float32)[None, None]
    for end, factor in ((1.0, 4.0), (0.0, 0.25)):
        inside = moved(disc, middle(zoom=end), Views(rotate=0, zoom=2))[..., 3:-3, 3:-3] if end else \
            moved(disc, middle(zoom=end), Views(rotate=0, zoom=2))[..., 8:24, 8:24]  # around it lies its reflection
        area = float(inside.sum()/disc.sum())
        assert area == pytest.approx(factor, rel=0.1)

def test_a_disc_stays_a_disc_in_an_oblong_image():
    yy, xx = np.mgrid[:24, :48]
    disc = torch.tensor(np.exp(-np.hypot(xx - 23.5, yy - 11.5)**2/18), dtype=torch.float32)[None, None]
    for angle in (0.6, 0.75, 1.0):
        y = moved(disc, middle(rotate=angle), Views(rotate=90))
        assert float((y - disc)[..., 14:34].abs().sum()/disc.sum()) < 0.05  # at the far ends lie reflections

def test_blur_keeps_the_mean_of_what_lies_inside_and_sharpening_undoes_no_more_than_it_says():
    x = torch.zeros(1, 2, 16, 16)
    x[..., 8, 8] = 1
    soft = blurred(x, torch.ones(1))
    assert torch.allclose(soft.sum((2, 3)), x.sum((2, 3))) and soft[0, 0, 8, 8] == pytest.approx((6/16)**2)
    assert torch.allclose(blurred(x, torch.tensor([-0.5])), 1.5*x - 0.5*soft)

def test_gain_and_offset_belong_to_a_channel():
    x = noise(3, 2, 8, 8)
    y = lit(x, torch.randn(3, 2, 2, generator=generator()), 0.3, 0.2)
    for a, b in zip(x.flatten(0, 1), y.flatten(0, 1), strict=True):
        slope = (b.max() - b.min())/(a.max() - a.min())
        assert torch.allclose(b, slope*a + (b - slope*a).mean(), atol=1e-5)

def test_an_erased_part_is_a_rectangle_no_larger_than_allowed_and_lies_anywhere():
    gone = erased(torch.ones(400, 1, 20, 30), noise(400, 4), 0.5)[:, 0] == 0
    height, width = gone.any(2).sum(1), gone.any(1).sum(1)
    assert torch.equal(gone.sum((1, 2)), height*width) and height.max() <= 10 and width.max() <= 15
    assert gone.any(0).all(), "every pixel is erased in some image"

def test_never_all_channels_are_blank():
    x = without_channels(torch.ones(500, 3, 2, 2), noise(500, 3), 0.9)[..., 0, 0]
    assert x.sum(1).min() == 1 and set(x.unique().tolist()) == {0, 1}
    assert torch.equal(without_channels(torch.ones(9, 1, 2, 2), noise(9, 1), 0.9), torch.ones(9, 1, 2, 2))

def test_standardised_is_the_twin_of_without_intensity():
    x = noise(4, 3, 9, 11)*1000
    x[1, 2] = 7.0
    assert np.allclose(standardised(x).numpy(), without_intensity(x.numpy()), atol=1e-4)
    assert (standardised(x)[1, 2] == 0).all()

@pytest.mark.parametrize("wrong", [dict(flip=1.5), dict(zoom=0.9), dict(noise=-1), dict(drop=-0.1), dict(shift=float("nan"))])
def test_views_that_make_no_sense_are_refused(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))): Views(**wrong)

# loss

def views_of(b): return torch.arange(2*b).roll(b)

def loss(z, temperature=0.5, group=None):
    positive = views_of(len(z)//2)
    return nt_xent(z, positive, candidates(torch, len(z), positive, group), temperature)

@pytest.mark.parametrize("b, dim", [(2, 3), (8, 16), (32, 64)])
def test_the_loss_is_monai_s_at_a_half(b, dim):
    ContrastiveLoss = pytest.importorskip("monai.losses").ContrastiveLoss
    z = torch.randn(2*b, dim, generator=generator(b))
    assert float(loss(z)) == pytest.approx(float(ContrastiveLoss(temperature=0.5)(z[:b], z[b:])), abs=1e-5)

@pytest.mark.parametrize("temperature", [1.0, 0.1, 0.05, 0.01])
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16, torch.float16])
def test_the_loss_is_finite_whatever_temperature_and_precision(temperature, kind):
    z = torch.randn(64, 16, generator=generator()).to(kind).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16): value = loss(z, temperature)
    value.backward()
    assert value.dtype == torch.float32 and value.isfinite() and z.grad.isfinite().all()
    assert float(value.detach()) == pytest.approx(float(loss(z.detach().float(), temperature)), rel=1e-5)

@pytest.mark.parametrize("kind", [torch.float32, torch.float16])
def test_embeddings_of_nothing_give_the_uninformative_value(kind):
    z = torch.zeros(64, 8, dtype=kind, requires_grad=True)
    value = loss(z, 0.01)
    value.backward()
    assert float(value.detach()) == float(np.float32(np.log(63))) and z.grad.isfinite().all()
    assert float(loss(torch.zeros(2, 8))) == 0  # one image: nothing to choose from

def test_images_of_one_group_leave_the_denominator():
    z, positive = torch.randn(8, 5, generator=generator(), dtype=torch.float64), views_of(4)
    group = torch.tensor([0, 0, 1, 2, 0, 0, 1, 2])
    among = candidates(torch, 8, positive, group)
    z32, terms = torch.nn.functional.normalize(z.float(), dim=1), []
    for i in range(8):
        left = [j for j in range(8) if j == positive[i] or group[j] != group[i]]
        assert among[i].nonzero()[:, 0].tolist() == left
        s = np.array([float(z32[i] @ z32[j])/0.2 for j in left])
        terms.append(np.log(np.exp(s).sum()) - s[left.index(int(positive[i]))])
    assert float(nt_xent(z, positive, among, 0.2)) == pytest.approx(np.mean(terms), abs=1e-5)
    assert float(nt_xent(z*0, positive, among, 0.2)) == pytest.approx(float(among.sum(1).double().log().mean()), abs=1e-6)

# partners

def test_partners_are_others_of_the_group_and_each_is_as_likely():
    rng = np.random.default_rng(0)
    group, plate = rng.integers(5, size=60), rng.integers(3, size=60)
    for part in (np.arange(60), plate):
        found = find_partners(group, part)
        drawn = np.array([draw_partners(found, np.arange(60), rng.random(60)) for _ in range(3000)])
        assert (group[drawn] == group).all()
        for i in range(60):
            others = np.flatnonzero((group == group[i]) & (part != part[i]))
            if not len(others): assert (drawn[:, i] == i).all(); continue
            counts = np.bincount(drawn[:, i], minlength=60)
            assert set(np.flatnonzero(counts)) == set(others)
            expected = 3000/len(others)
            assert abs(counts[others] - expected).max() < 5*np.sqrt(expected)

def test_the_ends_of_the_unit_interval_are_partners_too():
    found = find_partners(["a"]*4 + ["b"], range(5))
    for u in (0.0, np.nextafter(1, 0)): assert set(draw_partners(found, np.arange(5), np.full(5, u))) <= set(range(5))
    assert draw_partners(found, np.array([4]), np.array([0.5])) == [4], "alone in its group: itself"

def test_wells_of_two_plates_are_two_wells_and_treatments_pair_across_plates(cells):
    _, images = cells
    wells, group, said = partners_of(images, "well")
    assert group.max() == 5 and not said and (wells.n == 7).all()
    treated, group, said = partners_of(images, "treatment")
    assert group.max() == 1 and (treated.n == 16).all() and "labels are used" in said[-1]
    one = images[images.plate == "P1"]
    assert "16 of 16 images have no other" in partners_of(one, "treatment")[2][0]
    with pytest.raises(InputError, match="All training images are of one well"): partners_of(images.iloc[:8], "well")
    assert Recipe(positives="treatment").uses_labels and not Recipe(positives="well").uses_labels

# networks

@pytest.mark.parametrize("channels", [1, 2, 6])
def test_an_encoder_has_the_images_own_channel_count_and_no_up_or_down(channels):
    pixels = noise(5, channels, 40, 40).numpy()
    made = untrained(tuple(f"c{k}" for k in range(channels)))
    points = made.embed(pixels)
    assert points.dtype == np.float32 and np.isfinite(points).all()
    for other in (pixels[..., ::-1], pixels[..., ::-1, :], pixels.swapaxes(2, 3), np.rot90(pixels, 1, (2, 3))):
        assert np.allclose(made.embed(np.ascontiguousarray(other)), points, atol=1e-4)
    assert np.ptp(points, axis=0).min() > 1e-4, "no number is the same for all images"

def test_an_image_s_features_do_not_depend_on_its_company(trained, cells):
    pixels = cells[0]
    points = trained.embed(pixels)
    assert np.allclose(points, trained.embed(pixels, block=7), atol=1e-5)
    assert np.allclose(points[::-1], trained.embed(pixels[::-1]), atol=1e-5)
    assert np.allclose(points[3:4], trained.embed(pixels[3:4]), atol=1e-5)

def test_making_networks_leaves_torch_s_random_state_alone_and_depends_on_the_seed():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    nets = [build_network("small", 2, s)[0].state_dict() for s in (0, 0, 1)]
    assert torch.equal(torch.rand(3), expected)
    first = next(iter(nets[0]))
    assert torch.equal(nets[0][first], nets[1][first]) and not torch.equal(nets[0][first], nets[2][first])

def test_intensity_kept_is_seen_and_intensity_removed_is_not(cells):
    pixels = cells[0][:4]
    brighter = pixels*np.float32(1.7) + 30
    kept, removed = (untrained(STAINS, replace(QUICK, intensity=i), Scale(np.zeros(2), np.full(2, 500.0))) for i in ("kept", "removed"))
    assert np.allclose(removed.embed(brighter), removed.embed(pixels), atol=1e-3)
    assert abs(kept.embed(brighter) - kept.embed(pixels)).max() > 0.5*abs(kept.embed(pixels)).max()

def test_images_are_resized_where_the_recipe_says_so(cells):
    pixels, images = cells
    small = train(pixels, images, STAINS, replace(QUICK, size=12, epochs=1))
    large = np.repeat(np.repeat(pixels, 2, 2), 2, 3)
    assert np.corrcoef(small.embed(pixels).ravel(), small.embed(large).ravel())[0, 1] > 0.99

# training

def test_a_strict_encoder_never_looks_outside_its_rows(cells):
    pixels, images = cells
    rows = np.flatnonzero(images.plate != "P3")
    spoilt, table = pixels.copy(), images.copy()
    spoilt[images.plate == "P3"] = np.nan
    table.loc[table.plate == "P3", ["condition", "well"]] = "?"
    for positives in ("view", "well", "treatment"):
        recipe = replace(QUICK, epochs=2, positives=positives)
        one, other = train(pixels, images, STAINS, recipe, rows), train(spoilt, table, STAINS, recipe, rows[::-1])
        assert one.key == other.key and one.history.equals(other.history)
    assert train(pixels, images, STAINS, replace(QUICK, epochs=2)).key != train(pixels, images, STAINS, replace(QUICK, epochs=2), rows).key

def test_training_learns_to_tell_views_from_other_images(trained):
    history = trained.history
    assert list(history.epoch) == [1, 2, 3, 4] and history.loss.iloc[-1] < history.loss.iloc[0] < 1.2*history.uninformative.iloc[0]
    assert np.allclose(history.uninformative, np.log(31)), "48 images are three batches of 16"
    assert history.lr.iloc[-1] < history.lr.iloc[0]

def test_an_encoder_comes_again_with_its_seed_and_not_with_another(cells, trained):
    again = train(*cells, STAINS, QUICK)
    assert again.key == trained.key and np.array_equal(again.embed(cells[0]), trained.embed(cells[0]))
    assert train(*cells, STAINS, replace(QUICK, seed=1)).key != trained.key

def test_a_memory_map_gives_the_same_encoder(cells, trained, tmp_path):
    np.save(tmp_path/"pixels.npy", cells[0])
    mapped = np.load(tmp_path/"pixels.npy", mmap_mode="r")
    assert train(mapped, cells[1], STAINS, QUICK).key == trained.key
    assert np.array_equal(trained.embed(mapped), trained.embed(cells[0]))

def test_a_last_batch_of_one_is_left_out_and_said(cells):
    pixels, images = cells
    rows = np.arange(33)
    made = train(pixels, images, STAINS, replace(QUICK, batch=32, epochs=2), rows)
    assert np.allclose(made.history.uninformative, np.log(63)) and "leave one image over" in made.report[0]
    made = train(pixels, images, STAINS, replace(QUICK, batch=32, epochs=1), np.arange(34))
    expected = (32*np.log(63) + 2*np.log(3))/34
    assert made.history.uninformative[0] == pytest.approx(expected) and not made.report
    assert [batch_count(n, 32) for n in (2, 32, 33, 34, 64, 65)] == [1, 1, 1, 2, 2, 2]

def test_uninformative_is_of_the_batch_that_was(cells):
    "With all images of a plate's well out of the denominator, fewer candidates are left."
    made = train(*cells, STAINS, replace(QUICK, batch=48, epochs=2, positives="well"))
    assert np.allclose(made.history.uninformative, np.log(96 - 16 + 1))
    made = train(*cells, STAINS, replace(QUICK, batch=48, epochs=1, positives="treatment"))
    assert np.allclose(made.history.uninformative, np.log(96 - 48 + 1))

def test_too_little_or_what_does_not_belong_together_is_refused(cells):
    pixels, images = cells
    for wrong, says in [((pixels, images, STAINS, QUICK, [0]), "needs two images"), ((pixels[:5], images, STAINS, QUICK), "pixels of 5"),
                        ((pixels, images, ("DNA",), QUICK), "stain names"), ((pixels, images, STAINS, QUICK, np.arange(8, 16)), "untreated")]:
        with pytest.raises(InputError, match=says): train(*wrong)
    with pytest.raises(InputError, match="needs MONAI|densenet"): replace(QUICK, encoder="densenet")
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="no GPU"): train(*cells, STAINS, replace(QUICK, device="cuda"))

def test_an_image_with_a_pixel_that_is_no_number_is_named(cells, trained):
    pixels, images = cells[0].copy(), cells[1]
    pixels[20, 1, 3, 3] = np.nan
    with pytest.raises(InputError, match="The image image 20 holds a pixel that is no number"): train(pixels, images, STAINS, QUICK)
    with pytest.raises(InputError, match="The image 20 holds"): trained.embed(pixels)
    with pytest.raises(InputError, match="2 channels|channels"): trained.embed(pixels[:, :1])

def test_a_loss_that_is_no_number_stops_and_the_last_checkpoint_stays(cells, tmp_path, monkeypatch):
    import drugnb.morphology.simclr as simclr
    pixels, images, path = *cells, tmp_path/"c.npz"
    calls, true = [], simclr.nt_xent
    def breaks(*args):
        calls.append(1)
        return true(*args)*(float("nan") if len(calls) == 8 else 1)  # three steps an epoch: the second of the third
    monkeypatch.setattr(simclr, "nt_xent", breaks)
    with pytest.raises(InputError, match=r"The loss is nan, .* in epoch 3, step 2 \(images image \d+, .* and 11 more\)"):
        train(pixels, images, STAINS, QUICK, None, path)
    assert len(load_arrays(path, "checkpoint")[1]["history"]) == 2
    monkeypatch.setattr(simclr, "nt_xent", true)
    assert train(pixels, images, STAINS, QUICK, None, path).key == train(pixels, images, STAINS, QUICK).key

# checkpoints

class Killed(Exception): pass

def kill_after(epoch):
    def progress(row):
        if row["epoch"] == epoch: raise Killed
    return progress

@pytest.mark.parametrize("positives", ["view", "well"])
def test_five_and_five_epochs_are_ten(cells, tmp_path, positives):
    recipe, path = replace(QUICK, epochs=10, positives=positives), tmp_path/"c.npz"
    seen = []
    with pytest.raises(Killed): train(*cells, STAINS, recipe, None, path, progress=kill_after(5))
    resumed = train(*cells, STAINS, recipe, None, path, progress=seen.append)
    whole = train(*cells, STAINS, recipe)
    assert [row["epoch"] for row in seen] == [6, 7, 8, 9, 10]
    assert resumed.key == whole.key and resumed.history.equals(whole.history)
    again = train(*cells, STAINS, recipe, None, path)
    assert again.key == whole.key, "a finished run is reloaded"

def test_a_checkpoint_of_another_run_is_refused_with_the_first_difference(cells, tmp_path):
    pixels, images, path = *cells, tmp_path/"c.npz"
    recipe = replace(QUICK, epochs=2)
    train(pixels, images, STAINS, recipe, None, path)
    other = pixels.copy()
    other[7, 0, 0, 0] += 1
    last = images.copy()
    last["well"] = last.well.where(np.arange(len(last)) > 0, "B03")
    for args, says in [((pixels, images, ("DNA", "ER"), recipe), r"channels: \['DNA', 'Golgi'\] there, \['DNA', 'ER'\] here"),
                       ((pixels, images, STAINS, replace(recipe, temperature=0.5)), "temperature: 0.2 there, 0.5 here"),
                       ((pixels, images, STAINS, replace(recipe, epochs=3)), "epochs: 2 there, 3 here"),
                       ((pixels, images, STAINS, replace(recipe, views=STILL)), "views.flip: 0.5 there, 0 here"),
                       ((other, images, STAINS, recipe), "images: "), ((pixels, images, STAINS, recipe, np.arange(40)), "images: ")]:
        before = path.read_bytes()
        with pytest.raises(InputError, match=says): train(*args, checkpoint=path)
        assert path.read_bytes() == before
    well = tmp_path/"w.npz"
    train(pixels, images, STAINS, replace(recipe, positives="well"), None, well)
    with pytest.raises(InputError, match="images: "): train(pixels, last, STAINS, replace(recipe, positives="well"), None, well)

@pytest.mark.parametrize("spoil", [lambda b: b[:-100], lambda b: b[:len(b)//2] + bytes([b[len(b)//2] ^ 1]) + b[len(b)//2 + 1:], lambda b: b"",
                                   lambda b: b"not a zip"])
def test_a_file_that_was_cut_or_changed_is_never_loaded(cells, tmp_path, trained, spoil):
    path, encoder = tmp_path/"c.npz", tmp_path/"e.npz"
    train(*cells, STAINS, replace(QUICK, epochs=1), None, path)
    trained.save(encoder)
    for p in (path, encoder): p.write_bytes(spoil(p.read_bytes()))
    with pytest.raises(InputError, match="is not a whole checkpoint"): train(*cells, STAINS, replace(QUICK, epochs=1), None, path)
    with pytest.raises(InputError, match="is not a whole encoder"): load_encoder(encoder)

def test_a_half_written_checkpoint_has_another_name(cells, tmp_path, monkeypatch):
    path = tmp_path/"c.npz"
    recipe = replace(QUICK, epochs=3)
    with pytest.raises(Killed): train(*cells, STAINS, recipe, None, path, progress=kill_after(1))
    good = path.read_bytes()
    true = np.savez
    def dies(f, **arrays):
        f.write(b"half of it")
        raise Killed
    monkeypatch.setattr(np, "savez", dies)
    with pytest.raises(Killed): train(*cells, STAINS, recipe, None, path)
    monkeypatch.setattr(np, "savez", true)
    assert path.read_bytes() == good and [p.name for p in tmp_path.iterdir()] == ["c.npz"]
    assert train(*cells, STAINS, recipe, None, path).key == train(*cells, STAINS, recipe).key

def test_a_checkpoint_is_no_encoder_and_pickles_are_not_opened(cells, tmp_path):
    path = tmp_path/"c.npz"
    train(*cells, STAINS, replace(QUICK, epochs=1), None, path)
    with pytest.raises(InputError, match="kind checkpoint, where the kind encoder"): load_encoder(path)
    np.savez(tmp_path/"p.npz", about=np.array([{"a": 1}], dtype=object))
    with pytest.raises(InputError, match="is not a whole encoder"): load_encoder(tmp_path/"p.npz")
    with pytest.raises(InputError, match="There is no file"): load_encoder(tmp_path/"none.npz")

@pytest.mark.slow
def test_a_process_that_is_killed_within_an_epoch_resumes_to_the_same_bits(cells, tmp_path):
    path = tmp_path/"c.npz"
    code = ("import os, sys; sys.path.insert(0, os.environ['TESTS'])\n"
            "import drugnb.morphology.simclr as s\nfrom test_simclr import QUICK, STAINS, world\n"
            "true, n = s.train_step, []\n"
            "def step(*a):\n    n.append(1)\n    return os._exit(9) if len(n) == 8 else true(*a)\n"
            "s.train_step = step\n"
            f"s.train(*world(), STAINS, QUICK, None, {str(path)!r})\n")
    environment = {**os.environ, "TESTS": str(Path(__file__).parent)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=tmp_path)
    assert done.returncode == 9 and len(load_arrays(path, "checkpoint")[1]["history"]) == 2
    assert train(*cells, STAINS, QUICK, None, path).key == train(*cells, STAINS, QUICK).key

def test_the_learning_rate_rises_and_falls():
    recipe = Recipe(lr=0.01, warmup=0.1)
    rates = [learning_rate(k, 200, recipe) for k in range(200)]
    top = int(np.argmax(rates))
    assert max(rates) <= 0.01 and max(rates) > 0.0099 and 18 <= top <= 20
    assert (np.diff(rates[:top]) > 0).all() and (np.diff(rates[top:]) <= 0).all() and rates[-1] < 1e-5 < rates[0]

# files

def test_an_encoder_is_kept_whole(cells, trained, tmp_path):
    trained.save(tmp_path/"e.npz")
    back = load_encoder(tmp_path/"e.npz")
    assert back.key == trained.key and back.recipe == trained.recipe and back.channels == trained.channels
    assert back.history.equals(trained.history) and back.report == trained.report
    assert np.array_equal(back.embed(cells[0]), trained.embed(cells[0]))

def test_a_recipe_of_another_drugnb_is_refused(trained, tmp_path):
    about = {"kind": "encoder", "recipe": {**asdict(trained.recipe), "momentum": 1}, "channels": list(STAINS), "report": [],
        "history": {n: [] for n in ("epoch", "loss", "uninformative", "lr")},
             "scale": np.asarray(trained.scale).tolist()}
    save_arrays(tmp_path/"e.npz", trained.arrays(), about)
    with pytest.raises(InputError, match="momentum"): load_encoder(tmp_path/"e.npz")

def test_training_starts_from_an_encoder(cells, trained, tmp_path):
    path = tmp_path/"c.npz"
    recipe = replace(QUICK, epochs=1, lr=1e-12)
    made = train(*cells, STAINS, recipe, None, path, start=trained)
    assert all(np.allclose(made.arrays()[n], a) for n, a in trained.arrays().items() if n.endswith("weight"))
    with pytest.raises(InputError, match="start: "): train(*cells, STAINS, recipe, None, path)

def test_a_torch_state_dict_is_read_and_what_does_not_fit_is_named(trained, tmp_path):
    state = {f"module.{n}": torch.from_numpy(a) for n, a in trained.arrays().items()}
    torch.save(state, tmp_path/"w.pt")
    assert pretrained(tmp_path/"w.pt", STAINS, QUICK, trained.scale).key == trained.key
    torch.save({n: t for n, t in state.items() if "stage2.0.weight" not in n}, tmp_path/"less.pt")
    with pytest.raises(InputError, match=r"\(1 of its arrays\): stage2.0.weight is missing"): pretrained(tmp_path/"less.pt", STAINS)
    torch.save({**state, "extra": torch.zeros(2)}, tmp_path/"more.pt")
    with pytest.raises(InputError, match="extra is not in the network"): pretrained(tmp_path/"more.pt", STAINS)
    three = (*STAINS, "ER")
    with pytest.raises(InputError, match=r"is \(16, 2, 5, 5\) and should be \(16, 3, 5, 5\)"): pretrained(tmp_path/"w.pt", three)
    adapted = pretrained(tmp_path/"w.pt", three, adapt=True).arrays()["stage1.0.weight"]
    assert np.allclose(adapted.sum(1), trained.arrays()["stage1.0.weight"].sum(1), atol=1e-6)
    assert np.allclose(pretrained(tmp_path/"w.pt", STAINS, adapt=True).arrays()["stage1.0.weight"], trained.arrays()["stage1.0.weight"]), \
        "what fits is not adapted"

class Evil:
    def __reduce__(self): return (os.mkdir, ("evil",))

def test_a_state_dict_with_code_in_it_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"w": Evil()}, "w.pt")
    with pytest.raises(InputError, match="no state dict of plain tensors"): pretrained(tmp_path/"w.pt", STAINS)
    assert not Path("evil").exists()
    buffer = io.BytesIO()
    torch.save([1, 2], buffer)
    Path("list.pt").write_bytes(buffer.getvalue())
    with pytest.raises(InputError, match="no tensors by name"): pretrained(tmp_path/"list.pt", STAINS)

@pytest.mark.slow
def test_densenet121_takes_monai_s_weights_trains_and_resumes(cells, tmp_path):
    nets = pytest.importorskip("monai.networks.nets")
    net = nets.DenseNet121(spatial_dims=2, in_channels=2, out_channels=5)
    torch.save(net.state_dict(), tmp_path/"d.pth")
    pixels, images = world(size=32)
    recipe = Recipe(encoder="densenet121", epochs=2, batch=16, orientations=1)
    start = pretrained(tmp_path/"d.pth", STAINS, recipe)
    x = torch.from_numpy(pixels[:3])
    with torch.inference_mode(): expected = net.eval().features(x).mean((2, 3)).numpy()
    assert np.allclose(start.embed(pixels[:3])[:, -2048:-1024], expected, atol=1e-4)
    with pytest.raises(Killed): train(pixels, images, STAINS, recipe, None, tmp_path/"c.npz", start, kill_after(1))
    assert train(pixels, images, STAINS, recipe, None, tmp_path/"c.npz", start).key == train(pixels, images, STAINS, recipe, start=start).key

def test_torchvision_s_names_of_densenet_layers_fit(tmp_path):
    net = pytest.importorskip("monai.networks.nets").DenseNet121(spatial_dims=2, in_channels=3, out_channels=5)
    state = {n.replace(".layers.", ".").replace("class_layers.out", "classifier"): t for n, t in net.state_dict().items()}
    assert "features.denseblock1.denselayer1.norm1.weight" in state and "classifier.weight" in state
    torch.save(state, tmp_path/"d.pth")
    made = pretrained(tmp_path/"d.pth", ("a", "b", "c"), Recipe(encoder="densenet121"))
    assert np.array_equal(made.arrays()["conv0.weight"], net.state_dict()["features.conv0.weight"].numpy())

# judgement and figures

def test_features_for_a_judge_are_strict_or_say_that_they_are_not(cells):
    pixels, images = cells
    rows = np.flatnonzero(images.plate != "P3")
    recipe = replace(QUICK, epochs=1)
    strict, all_ = Learned("net", pixels, images, STAINS, recipe), Learned("net", pixels, images, STAINS, recipe, strict=False)
    assert np.array_equal(strict.for_training(rows), train(pixels, images, STAINS, recipe, rows).embed(pixels))
    assert np.array_equal(all_.for_training(rows), train(pixels, images, STAINS, recipe).embed(pixels))
    assert (strict.name, all_.name) == ("net", "net, transductive")
    assert Learned("net", pixels, images, STAINS, replace(recipe, positives="treatment")).name == "net, labels used"
    two = Learned("net", pixels, images, STAINS, recipe, members=2).for_training(rows)
    assert np.array_equal(two[:, :two.shape[1]//2], strict.for_training(rows)) and not np.allclose(two[:, :two.shape[1]//2],
        two[:, two.shape[1]//2:])

def test_the_figure_names_the_lowest_loss_by_its_uninformative_value(trained):
    rows = [trained.history.assign(encoder="a"), trained.history.assign(encoder="b", loss=trained.history.loss/2)]
    ax = figure_loss(pd.concat(rows)).axes[0]
    assert ax.get_title("left").startswith("b: ") and "nats" in ax.get_ylabel()
    bad = trained.history.assign(encoder="a", loss=9.0)
    assert figure_loss(bad).axes[0].get_title("left").startswith("no loss is below")

def test_a_strict_encoder_reads_a_plate_that_it_never_saw(cells):
    "Treated cells are larger; nearest centroid of features, brightness removed, on the third plate."
    pixels, images = cells
    rows, test = np.flatnonzero(images.plate != "P3"), np.flatnonzero(images.plate == "P3")
    made = train(pixels, images, STAINS, replace(QUICK, intensity="removed", epochs=6, positives="well"), rows)
    points, y = made.embed(pixels), images.untreated.to_numpy()
    points = (points - points[rows].mean(0))/points[rows].std(0)
    far = [((points[test] - points[rows][y[rows] == k].mean(0))**2).sum(1) for k in (True, False)]
    assert ((far[0] < far[1]) == y[test]).mean() >= 0.9

@pytest.mark.slow
def test_a_real_plate_that_no_encoder_saw_is_read_by_shape_alone(data):
    "BBBC021 crops, intensity removed; every second DMSO crop of a plate is a reference. Chance is .5; one well of each plate is DMSO."
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import balanced_accuracy_score

    from drugnb.morphology.normalise import robust_z
    folder = data/"morphology"
    if not (folder/"bbbc021_cells_600.npz").exists(): pytest.skip(f"the crops of BBBC021 are not in {folder}")
    table = pd.read_csv(folder/"bbbc021_cells_600.csv", dtype=str)
    with np.load(folder/"bbbc021_cells_600.npz", allow_pickle=False) as f: pixels = f["X"].transpose(0, 3, 1, 2).astype(np.float32)
    images = table[["plate", "well"]].assign(untreated=(table["compound"] == "DMSO"), condition=table["compound"] + " " + table.concentration_uM)
    images.index = [f"crop {k}" for k in range(len(images))]
    rows = np.flatnonzero(images.plate != "Week4_27801")
    recipe = Recipe(intensity="removed", positives="well", epochs=8)
    made = train(pixels, images, ("DNA", "tubulin", "actin"), recipe, rows)
    assert made.history.loss.iloc[-1] < made.history.uninformative.iloc[-1]
    reference = images.untreated.to_numpy() & (np.arange(len(images)) % 2 == 0)
    points, y = robust_z(made.embed(pixels), images.plate, reference), images.untreated.to_numpy()
    asked = np.setdiff1d(np.flatnonzero(~reference), rows)
    known = np.intersect1d(np.flatnonzero(~reference), rows)
    model = LogisticRegression(C=0.001, max_iter=500, class_weight="balanced").fit(points[known], y[known])
    assert balanced_accuracy_score(y[asked], model.predict(points[asked])) > 0.8
