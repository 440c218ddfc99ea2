"""Numbers of images that need no network: intensity, texture and shape, pixel PCA; plates on one scale, and sphering."""
import numpy as np
import pandas as pd
import pytest
from scipy import ndimage
from scipy.linalg import sqrtm
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from drugnb.core.settings import InputError, data_folders, read_settings
from drugnb.morphology import features as module
from drugnb.morphology.features import (
    SHARES,
    Fixed,
    PixelPCA,
    bright_regions,
    channel_scale,
    intensity_features,
    otsu_regions,
    region_shape,
    scaled,
    standard_differences,
    texture_features,
    without_intensity,
)
from drugnb.morphology.normalise import (
    CLIP,
    STRENGTHS,
    Sphering,
    crossed_z,
    deal_parts,
    plate_scale,
    references_left,
    robust_z,
    share_between,
    unusual_features,
)
from drugnb.morphology.simulate import simulate_cells, simulated_small

GAINS = np.array([0.4, 3, 1, 2, 0.7, 1.5])[:, None, None]

@pytest.fixture(scope="module")
def study(): return simulated_small()

@pytest.fixture(scope="module")
def texture(study): return texture_features(study.pixels, study.channels)

# scale and intensity

def test_the_scale_of_a_study_is_two_quantiles_of_the_given_images(study):
    rows = np.flatnonzero(study.images.untreated)
    scale = channel_scale(study.pixels, rows)
    for c in range(6): assert np.allclose(np.quantile(study.pixels[rows, c], [0.01, 0.99]), [scale.low[c], scale.high[c]])
    assert np.array_equal(scale.high, channel_scale(study.pixels, study.images.untreated.to_numpy(bool)).high)
    assert np.array_equal(scale.high, channel_scale(study.pixels, rows[::-1]).high)

def test_other_images_do_not_touch_the_scale(study):
    rows, spoilt = np.flatnonzero(study.images.untreated), study.pixels.copy()
    spoilt[~study.images.untreated.to_numpy(bool)] = np.nan
    assert np.array_equal(channel_scale(spoilt, rows).high, channel_scale(study.pixels, rows).high)

def test_scaled_pixels_are_not_clipped_and_undo(study):
    scale = channel_scale(study.pixels, [0, 1])
    x = scaled(study.pixels, scale)
    assert x.dtype == np.float32 and x.min() < 0 and x.max() > 1
    back = x*(scale.high - scale.low)[:, None, None] + scale.low[:, None, None]
    assert np.allclose(back, study.pixels, atol=0.01)

def test_a_sparse_stain_has_a_scale_and_a_flat_one_is_refused():
    pixels = np.zeros((4, 2, 20, 20))
    pixels[:, :, 3, 3] = 7
    assert channel_scale(pixels, [0, 1]).high.tolist() == [7, 7]
    pixels[:, 1] = 2
    with pytest.raises(InputError, match="Channel 2 of 2 holds one value"): channel_scale(pixels, [0, 1, 2])
    with pytest.raises(InputError, match="no untreated image"): channel_scale(pixels, [])
    with pytest.raises(InputError, match="Channel 1 of 2"): channel_scale(pixels*np.nan, [0, 1])

def test_a_scale_of_other_channels_is_refused(study):
    with pytest.raises(InputError, match="scale is of 6 channels and the images have 3"):
        scaled(study.pixels[:, :3], channel_scale(study.pixels, [0]))

def test_without_intensity_every_channel_of_every_image_is_standardised(study):
    z = without_intensity(study.pixels)
    assert np.abs(z.mean((2, 3))).max() < 1e-5 and np.allclose(z.std((2, 3)), 1, atol=1e-4)
    assert np.allclose(without_intensity(study.pixels*GAINS + 300), z, atol=1e-3)

@pytest.mark.parametrize("value", [0, 0.1, 1000.3, 65535])
def test_a_flat_channel_stays_zero(value):
    pixels = np.full((3, 2, 30, 31), value)
    assert not without_intensity(pixels).any()

def test_intensity_features_are_what_numpy_says(study):
    table, x = intensity_features(study.pixels, study.channels), study.pixels.astype(float)
    assert table.shape == (96, 48) and table.columns.is_unique
    assert np.allclose(table["RNA mean"], x[:, 3].mean((1, 2)), rtol=1e-5)
    assert np.allclose(table["RNA sd"], x[:, 3].std((1, 2)), rtol=1e-5)
    quantiles = np.quantile(x[:, 3], SHARES, axis=(1, 2))
    for share, expected in zip(SHARES, quantiles, strict=True): assert np.allclose(table[f"RNA {share:.0%} quantile"], expected, rtol=1e-5)
    half = (quantiles[0] + quantiles[-1])/2
    assert np.allclose(table["RNA stained share"], (x[:, 3] > half[:, None, None]).mean((1, 2)))

def test_intensity_features_know_no_place(study):
    shuffled = np.random.default_rng(0).permuted(study.pixels.reshape(96, 6, -1), axis=2).reshape(study.pixels.shape)
    assert np.allclose(intensity_features(shuffled, study.channels), intensity_features(study.pixels, study.channels), rtol=1e-5)

# texture and shape

def test_texture_is_the_same_under_any_gain_and_background(study, texture):
    other = texture_features(study.pixels*GAINS + 400, study.channels)
    assert texture.shape == (96, 6*17 + 15*4) and texture.columns.is_unique
    assert np.quantile(np.abs(other - texture), 0.999) < 1e-3

def test_texture_does_not_know_which_plate_was_lit_brighter(study):
    plate = (study.images.plate == "p02").to_numpy()
    lit = np.where(plate[:, None, None, None], study.pixels*GAINS + 100, study.pixels)
    def apart(measure, pixels): return standard_differences(measure(pixels, study.channels), plate).median()
    assert apart(intensity_features, lit) > 2*apart(intensity_features, study.pixels)
    assert abs(apart(texture_features, lit) - apart(texture_features, study.pixels)) < 1e-3

@pytest.mark.parametrize("turned", [lambda x: x[..., ::-1], lambda x: x[..., ::-1, :], lambda x: x.swapaxes(2, 3)])
def test_texture_is_the_same_for_a_cell_that_is_turned(study, texture, turned):
    other = texture_features(turned(study.pixels), study.channels)
    assert (np.abs(other - texture) < 1e-3).to_numpy().mean() > 0.995  # rings meet their limits by a pixel now and then

def test_rows_blocks_and_the_order_of_channels_change_no_number(study, texture, monkeypatch):
    order = np.random.default_rng(0).permutation(96)
    assert np.allclose(texture_features(study.pixels[order], study.channels), texture.iloc[order], atol=1e-4)
    turned = texture_features(study.pixels[:, ::-1], study.channels[::-1])
    alike = [c for c in texture if c in turned]
    assert len(alike) == 6*17 and np.allclose(turned[alike], texture[alike], atol=1e-3)
    monkeypatch.setattr(module, "BLOCK", 7*6*32*32)
    assert np.allclose(texture_features(study.pixels, study.channels), texture, atol=1e-5)
    assert np.allclose(intensity_features(study.pixels, study.channels), intensity_features(study.pixels[:96], study.channels))

def test_granularity_finds_the_size_of_granules():
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(3, 20, 1, 64, 64))
    pixels = np.concatenate([ndimage.gaussian_filter(n, (0, 0, s, s)) for n, s in zip(noise, (0.3, 1.5, 5), strict=True)])
    table = texture_features(pixels, ("stain",)).filter(like="granularity")
    largest = table.groupby(np.repeat([0, 1, 2], 20)).mean().to_numpy().argmax(1)
    assert largest.tolist() == sorted(set(largest.tolist())) and largest[0] == 0 and largest[2] == 3

def test_stains_in_one_organelle_go_together():
    rng = np.random.default_rng(1)
    a, b = ndimage.gaussian_filter(rng.normal(size=(2, 10, 48, 48)), (0, 0, 1, 1))
    table = texture_features(np.stack([a, 5*a + 3, b], axis=1), ("a", "same", "other"))
    assert (table.filter(regex="a and same together") > 0.999).all(axis=None)
    assert (table.filter(regex="a and other together 1").abs() < 0.2).all(axis=None)

def test_otsu_agrees_with_a_search_over_all_thresholds():
    rng = np.random.default_rng(0)
    images = np.where(rng.random((5, 16, 16)) < 0.3, rng.normal(5, 1, (5, 16, 16)), rng.normal(0, 1, (5, 16, 16)))
    def between(x, bright):
        w = bright.mean()
        return w*(1 - w)*(x[bright].mean() - x[~bright].mean())**2
    for x, found in zip(images, otsu_regions(images), strict=True):
        best = max(between(x, x > t) for t in np.sort(x.ravel())[:-1])
        assert between(x, found) > 0.995*best
    assert not otsu_regions(np.ones((2, 8, 8))).any()

def test_regions_agree_with_labelling_each_image():
    bright = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(30, 40, 40)), (0, 1.2, 1.2)) > 0.25
    bright[7] = False
    found = bright_regions(bright)
    for image, largest, count in zip(bright, *found, strict=True):
        labels, n = ndimage.label(image, np.ones((3, 3)))
        sizes = np.bincount(labels.ravel())[1:]
        assert count == (sizes >= 4).sum()
        assert largest.sum() == (sizes.max() if n else 0) and len(np.unique(labels[largest])) <= 1

def test_shape_of_an_ellipse():
    y, x = np.mgrid[:101, :101]
    ellipse = ((((x - 40)/30)**2 + ((y - 60)/15)**2) <= 1)[None]
    turned = ndimage.rotate(ellipse[0].astype(float), 30, reshape=False)[None] > 0.5
    shape = region_shape(ellipse)
    assert abs(shape.area[0]/(np.pi*30*15) - 1) < 0.01 and np.allclose([shape.x[0], shape.y[0]], [40, 60], atol=0.1)
    assert np.allclose(shape.eccentricity, np.sqrt(1 - 0.25), atol=0.01)
    assert np.allclose(region_shape(turned).eccentricity, shape.eccentricity, atol=0.01)
    empty = region_shape(np.zeros((1, 20, 20), bool))
    assert empty.area[0] == empty.eccentricity[0] == empty.roughness[0] == 0 and np.isfinite(np.concatenate(empty)).all()

def test_empty_flat_and_whole_images_give_numbers():
    pixels = np.zeros((3, 1, 20, 20))
    pixels[1, 0, 10, 10] = 1
    pixels[2] = np.random.default_rng(0).normal(size=(20, 20))
    table = texture_features(pixels, ("stain",))
    assert np.isfinite(table).all(axis=None) and table["stain bright area"][0] == 0

@pytest.mark.parametrize("measure", [intensity_features, texture_features])
def test_bad_images_are_named(measure, study):
    spoilt = study.pixels.copy()
    spoilt[[5, 9], 0, 0, 0] = np.inf
    with pytest.raises(InputError, match=r"Image 5 .* \(2 such images"): measure(spoilt, study.channels)
    with pytest.raises(InputError, match="6 channels and 2 stain names"): measure(study.pixels, ("DNA", "actin"))
    with pytest.raises(InputError, match="should be images x channels"): measure(study.pixels[0], study.channels)
    with pytest.raises(InputError, match="no images"): measure(study.pixels[:0], study.channels)

def test_small_images_have_no_texture(study):
    with pytest.raises(InputError, match="too small for texture"): texture_features(study.pixels[..., :15], study.channels)

def test_texture_finds_changed_organelles_on_plates_held_out_and_none_where_there_is_none(study, texture):
    images, plates = study.images, study.images.plate.to_numpy()
    z = robust_z(texture.to_numpy(), plates, images.untreated.to_numpy(bool))
    def told(treatment):
        own, scores = (images.untreated | (images.treatment == treatment)).to_numpy(), []
        for plate in np.unique(plates):
            train, test = own & (plates != plate), own & (plates == plate)
            model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, class_weight="balanced"))
            said = model.fit(z[train], images.untreated[train]).predict(z[test])
            scores.append(balanced_accuracy_score(images.untreated[test], said))
        return np.mean(scores)
    assert told("Golgi A") > 0.85 and told("mitochondrial A") > 0.85 and told("nuclear A") > 0.75
    assert told("inert") < 0.7

# for the judge

def test_fixed_features_learn_nothing():
    values = np.arange(6.0).reshape(3, 2)
    assert np.array_equal(Fixed("f", values).for_training(np.array([0])), values)

def in_scikit_learn(pixels, rows, n):
    "PCA of pixels, each channel at one total variance over the training images."
    x = pixels.astype(float) - pixels[rows].mean(0, dtype=float)
    x /= np.sqrt(np.square(x[rows]).sum((0, 2, 3), keepdims=True))
    flat = x.reshape(len(x), -1)
    return PCA(n, svd_solver="full").fit(flat[rows]).transform(flat)

def test_pixel_pca_agrees_with_scikit_learn(study):
    rows = np.random.default_rng(0).permutation(96)[:40]
    ours, theirs = PixelPCA("p", study.pixels, 12).for_training(rows), in_scikit_learn(study.pixels, rows, 12)
    assert ours.shape == (96, 12) and np.allclose(np.abs(ours), np.abs(theirs), atol=2e-4*np.abs(theirs).max())

def test_pixel_pca_learns_from_training_images_alone(study):
    rows, spoilt = np.arange(0, 96, 2), study.pixels.copy()
    spoilt[1::2] = np.nan
    clean, other = (PixelPCA("p", p, 8).for_training(rows)[rows] for p in (study.pixels, spoilt))
    assert np.allclose(clean, other, atol=1e-4*np.abs(clean).max())
    spoilt[0] = np.nan
    spoilt[1::2] = study.pixels[1::2]
    late = PixelPCA("p", spoilt, 8).for_training(np.arange(1, 96, 2))[1:]
    assert np.isfinite(late[1:]).all()

def test_pixel_pca_has_at_most_one_component_fewer_than_images(study):
    assert PixelPCA("p", study.pixels).for_training(np.arange(9)).shape == (96, 8)
    with pytest.raises(InputError, match="two training images"): PixelPCA("p", study.pixels).for_training([3])
    with pytest.raises(InputError, match="nothing to learn"): PixelPCA("p", study.pixels[[0]*5]).for_training(np.arange(4))

def test_many_training_images_are_drawn_from(study, monkeypatch):
    monkeypatch.setattr(module, "MOST_LEARNED", 30)
    rows = np.arange(0, 96, 2)
    drawn = [PixelPCA("p", study.pixels, 5, seed).for_training(rows) for seed in (0, 0, 1)]
    assert np.array_equal(drawn[0], drawn[1]) and not np.allclose(drawn[0], drawn[2])
    few = np.arange(20)
    assert np.allclose(np.abs(PixelPCA("p", study.pixels, 5).for_training(few)), np.abs(in_scikit_learn(study.pixels, few, 5)),
                       atol=1e-3)

def test_a_stain_counts_as_much_as_any_other_in_pixel_pca(study):
    rows = np.arange(48)
    plain, loud = (PixelPCA("p", study.pixels*g, 6).for_training(rows) for g in (1, GAINS))
    assert np.allclose(plain, loud, atol=1e-3*np.abs(plain).max())

# plates on one scale

PLATES = np.repeat(["a", "b", "c"], 20)
REFERENCE = np.tile(np.arange(20) < 8, 3)

def numbers(p=5, seed=0): return np.random.default_rng(seed).normal(size=(60, p))

def test_robust_z_by_hand():
    features = np.array([[1.0], [2], [3], [4], [100], [7]])
    z = robust_z(features, np.full(6, "a"), np.array([1, 1, 1, 1, 1, 0], bool))
    assert np.allclose(z[:, 0], np.clip((features[:, 0] - 3)/1.4826, -CLIP, CLIP))

def test_gain_and_background_of_a_plate_leave_no_trace():
    x = numbers()
    other = np.where((PLATES == "b")[:, None], 40*x - 300, x)
    assert np.allclose(robust_z(x, PLATES, REFERENCE), robust_z(other, PLATES, REFERENCE), atol=1e-3)

def test_only_references_say_what_is_normal():
    x = numbers()
    other = x.copy()
    other[~REFERENCE] = 1e6
    assert np.array_equal(robust_z(x, PLATES, REFERENCE)[REFERENCE], robust_z(other, PLATES, REFERENCE)[REFERENCE])
    assert (robust_z(other, PLATES, REFERENCE)[~REFERENCE] == CLIP).all()

def test_order_of_rows_plays_no_part():
    x, order = numbers(), np.random.default_rng(1).permutation(60)
    assert np.array_equal(robust_z(x[order], PLATES[order], REFERENCE[order]), robust_z(x, PLATES, REFERENCE)[order])

def test_plates_without_enough_references_are_named():
    x = numbers()
    with pytest.raises(InputError, match=r"2 of 3 plates .*: b \(2\), c \(0\)"):
        robust_z(x, PLATES, REFERENCE & (PLATES != "c") & ~((PLATES == "b") & (np.arange(60) > 21)))
    with pytest.raises(InputError, match="needs its plate"): robust_z(x, PLATES[:9], REFERENCE)
    with pytest.raises(InputError, match="True or False"): robust_z(x, PLATES, REFERENCE.astype(int))
    x[3, 2] = np.nan
    with pytest.raises(InputError, match="plate a has no number in feature 2"): robust_z(x, PLATES, REFERENCE)

def test_features_without_a_median_deviation_are_scaled_by_what_is_left():
    x = numbers()
    x[:, 0] = 3.3  # flat everywhere
    x[:, 1] = np.tile(np.arange(20) == 0, 3)  # seven of eight references agree
    x[PLATES == "b", 2] = 0  # flat on one plate only
    scale = plate_scale(x, PLATES, REFERENCE)
    assert scale.how.tolist() == [[3, 1, 0, 0, 0], [3, 1, 2, 0, 0], [3, 1, 0, 0, 0]]
    assert np.isclose(scale.scale[1, 2], np.median(scale.scale[[0, 2], 2]))
    z = robust_z(x, PLATES, REFERENCE)
    assert np.isfinite(z).all() and not z[:, 0].any() and z[0, 1] > 0
    table = unusual_features(pd.DataFrame(x, columns=list("vwxyz")), PLATES, REFERENCE)
    assert table.loc["v", "flat"] == 3 and table.loc["w", "by_sd"] == 3 and table.loc["x", "by_others"] == 1

def test_no_well_is_its_own_reference_and_parts_keep_wells_whole():
    wells = np.tile(np.arange(20)//2, 3).astype(str)
    part = deal_parts(PLATES, wells, REFERENCE)
    assert (pd.Series(part).groupby([PLATES, wells]).nunique() == 1).all()
    assert references_left(PLATES, part, REFERENCE).tolist() == [6, 6, 6]
    x = numbers(40, seed=3)
    z, own = crossed_z(x, PLATES, part, REFERENCE), robust_z(x, PLATES, REFERENCE)
    length = lambda v: np.linalg.norm(v[REFERENCE], axis=1).mean()/np.linalg.norm(v[~REFERENCE], axis=1).mean()
    assert length(own) < 0.8 < 0.9 < length(z) < 1.1
    spoilt = x.copy()
    spoilt[0] += 50
    assert np.array_equal(crossed_z(spoilt, PLATES, part, REFERENCE)[1:2], crossed_z(x, PLATES, part, REFERENCE)[1:2])

def test_a_single_untreated_well_deals_its_images():
    wells = np.where(REFERENCE, "B02", "C03")
    part = deal_parts(PLATES, wells, REFERENCE)
    assert set(part) == set(range(6)) and (references_left(PLATES, part, REFERENCE) >= 6).all()
    assert np.array_equal(part, deal_parts(PLATES, wells, REFERENCE)) and not np.array_equal(part, deal_parts(PLATES, wells, REFERENCE, 1))

def test_share_between_plates_is_nothing_by_chance_and_all_where_plates_are_all():
    x = numbers(400)
    assert abs(share_between(x, PLATES).mean()) < 0.02
    assert np.allclose(share_between(pd.factorize(PLATES)[0][:, None]*1.0, PLATES), 1)
    assert np.isnan(share_between(np.ones((60, 1)), PLATES)).all()

# sphering

@parametrize_with_checks([Sphering(), Sphering(0.0), Sphering(1.0)])
def test_sphering_is_a_transformer_of_scikit_learn(estimator, check): check(estimator)

@pytest.mark.parametrize("n", [8, 300])
@pytest.mark.parametrize("strength", [*STRENGTHS, 1.0])
def test_sphering_is_the_inverse_root_of_the_mixed_covariance(n, strength):
    rng = np.random.default_rng(n)
    x, other = rng.normal(size=(n, 12)) @ rng.normal(size=(12, 12)), rng.normal(size=(5, 12))
    covariance = np.cov(x.T)
    m = np.trace(covariance)/12
    mixed = strength*covariance/m + max(1 - strength, 1e-6)*np.eye(12)
    expected = (other - x.mean(0)) @ np.linalg.inv(np.real(sqrtm(mixed)))
    assert np.allclose(Sphering(strength).fit(x).transform(other), expected, rtol=1e-3, atol=1e-3*np.abs(expected).max())

def test_sphering_does_not_depend_on_units_or_axes():
    rng = np.random.default_rng(0)
    x, turn = rng.normal(size=(40, 6))*np.arange(1, 7), np.linalg.qr(rng.normal(size=(6, 6)))[0]
    plain = Sphering(0.9).fit(x).transform(x)
    assert np.allclose(Sphering(0.9).fit(10*x + 3).transform(10*x + 3), 10*plain)
    assert np.allclose(Sphering(0.9).fit(x @ turn).transform(x @ turn), plain @ turn)

def test_constant_references_and_bad_strengths():
    assert np.allclose(Sphering(0.9).fit(np.ones((5, 3))).transform(np.full((2, 3), 4.0)), 3)
    with pytest.raises(InputError, match="from 0 to 1"): Sphering(1.2).fit(np.ones((5, 3)))
    assert clone(Sphering(0.25)).strength == 0.25

# real crops

@pytest.fixture(scope="module")
def crops():
    folder = next((f/"morphology" for f in data_folders(read_settings()) if (f/"morphology/bbbc021_cells_600.npz").exists()), None)
    if not folder: pytest.skip("the crops of BBBC021 are in no data folder: set DRUGNB_DATA to the folder that holds morphology/")
    with np.load(folder/"bbbc021_cells_600.npz", allow_pickle=False) as file:
        pixels = np.ascontiguousarray(file["X"].transpose(0, 3, 1, 2)).astype(np.float32)
    return pixels, pd.read_csv(folder/"bbbc021_cells_600.csv")

def leave_one_plate_out(values, table):
    "Balanced accuracy on each of the plates that hold both, the left-out plate measured by the other half of its DMSO crops."
    untreated, plates = (table.label == 0).to_numpy(), table.plate.to_numpy(str)
    scores = {}
    for plate in np.unique(plates[~untreated]):
        test, x = plates == plate, values(np.flatnonzero(plates != plate))
        halves = np.random.default_rng(0).permutation(np.flatnonzero(test & untreated))
        both = []
        for k in (0, 1):
            asked = np.isin(np.arange(len(table)), halves[k::2]) | (test & ~untreated)
            z = robust_z(x, plates, untreated & ~asked)
            model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, class_weight="balanced", max_iter=1000))
            said = model.fit(z[~test], untreated[~test]).predict(z[asked])
            both.append(balanced_accuracy_score(untreated[asked], said))
        scores[plate] = np.mean(both)
    return scores

def test_real_crops_brightness_tells_the_drug_and_texture_does_without_it(crops):
    pixels, table = crops
    stains = ("DNA", "tubulin", "actin")
    def mean(features): return np.mean(list(leave_one_plate_out(features.for_training, table).values()))
    assert mean(Fixed("intensity", intensity_features(pixels, stains).to_numpy())) > 0.94
    assert 0.87 < mean(Fixed("texture", texture_features(pixels, stains).to_numpy())) < 0.93
    kept, removed = mean(PixelPCA("p", pixels)), mean(PixelPCA("p", without_intensity(pixels)))
    assert removed + 0.05 < kept < 0.92

def test_real_crops_measure_the_same_whatever_the_camera(crops):
    pixels, _ = crops
    stains = ("DNA", "tubulin", "actin")
    plain, lit = (texture_features(p[:60], stains) for p in (pixels, pixels*GAINS[:3] + 12))
    assert np.quantile(np.abs(plain - lit), 0.999) < 1e-3

def test_channels_may_be_many_or_one():
    two = simulate_cells(1, 1, 4, 1, 1, 32, {"nuclear A": ("DNA", 1.0)}, channels=("Golgi", "DNA"))
    assert texture_features(two.pixels, two.channels).shape[1] == 38
    assert texture_features(two.pixels[:, :1], ("Golgi",)).shape[1] == 17
