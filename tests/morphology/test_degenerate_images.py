"""Degenerate images and plates: whatever is constant, saturated, missing or alone gives a defined answer or one sentence."""
import re

import numpy as np
import pandas as pd
import pytest

from drugnb.core.settings import InputError
from drugnb.morphology import activity as ac
from drugnb.morphology import features as ft
from drugnb.morphology import gallery as ga
from drugnb.morphology import judge as ju
from drugnb.morphology import normalise as no
from drugnb.morphology import phenotype as ph
from drugnb.morphology.data import Study

pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")
STAINS, NAN = ("DNA", "Actin"), re.compile(r"\bnan\b")


def sentence(error):
    text = str(error.value if hasattr(error, "value") else error)
    assert text.endswith((".", "?")) and "\n" not in text and len(text) < 400, text

def some(kinds, few):
    "Every kind; all but some of them slow."
    return [pytest.param(k, marks=() if k in few else pytest.mark.slow) for k in kinds]

def defined(act):
    "The value, or None where it is refused in one sentence."
    try: return act()
    except InputError as e:
        sentence(e)
        return None

def table_of(wells):
    "Images as a study has them, from rows of plate, well and treatment."
    t = pd.DataFrame(wells, columns=["plate", "well", "treatment"]).assign(site="", dose=np.nan, mechanism="", batch="")
    t["condition"], t["untreated"], t["batch"] = t.treatment, t.treatment == "DMSO", t.plate.str[:2]
    t["row"], t["column"] = t.well.str[0].map(ord) - 64, t.well.str[1:].astype(int)
    return t.set_axis([f"{p} {w} {i}" for i, (p, w) in enumerate(zip(t.plate, t.well, strict=True))], axis=0)

def study_table(plates=("w1a", "w1b", "w2a", "w2b"), drugs=("one", "two"), wells=4, untreated=6):
    "Plates with some wells of each drug, dealt over rows."
    rows = []
    for k, p in enumerate(plates):
        names = ["DMSO"]*untreated + [d for d in drugs for _ in range(wells)]
        names = names[k:] + names[:k]
        rows += [(p, f"{'ABCDEFGH'[i % 8]}{i//8 + 1:02d}", n) for i, n in enumerate(names)]
    return table_of(rows)

# features of images

def cells(n=4, size=32, seed=0):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] - size/2
    blob = np.exp(-(x**2 + y**2)/(2*(size/6)**2))
    return (100 + 1000*blob + 20*rng.standard_normal((n, 2, size, size))).astype(np.float32)

IMAGES = {
    "as they are": lambda x: x, "constant": lambda x: x*0 + 7.1, "empty": lambda x: x*0,
    "one flat stain": lambda x: x*np.array([1, 0])[:, None, None] + 3.3,
    "saturated": lambda x: np.full(x.shape, 65535, np.uint16), "half saturated": lambda x: np.where(x > 150, 65535, 0).astype(np.uint16),
    "uint16": lambda x: x.astype(np.uint16),
    "negative": lambda x: -x, "huge": lambda x: x.astype(float)*1e15, "tiny": lambda x: x*1e-15, "far from zero": lambda x: x + 1e6,
    "one bright pixel": lambda x: one_pixel(x),
    "checkerboard": lambda x: np.indices(x.shape).sum(0) % 2*1.0, "one image": lambda x: x[:1], "one stain": lambda x: x[:, :1],
    "oblong": lambda x: x[..., :20], "bool": lambda x: x > 500,
}

def one_pixel(x):
    out = np.zeros_like(x)
    out[:, :, 5, 7] = 1000
    return out

@pytest.mark.parametrize("kind", IMAGES)
@pytest.mark.parametrize("features", [ft.intensity_features, ft.texture_features])
def test_features_of_an_image_are_finite(kind, features):
    x = IMAGES[kind](cells())
    table = features(x, STAINS[:x.shape[1]])
    assert len(table) == len(x) and np.isfinite(table.to_numpy()).all()
    if kind in ("constant", "empty") and features is ft.texture_features:
        assert (table.filter(regex="granularity|edges|skewness|bright") == 0).all(axis=None)

@pytest.mark.parametrize("kind", ["nan", "infinite", "too large", "three axes", "no image", "no stain", "small", "names", "one pixel"])
@pytest.mark.parametrize("features", [ft.intensity_features, ft.texture_features])
def test_images_that_are_none_are_refused(kind, features):
    x, names = cells().astype(float), STAINS
    if kind == "nan": x[1, 0, 3, 3] = np.nan
    if kind == "infinite": x[1, 0, 3, 3] = -np.inf
    if kind == "too large": x[1, 0, 3, 3] = 1e200
    if kind == "three axes": x = x[:, 0]
    if kind == "no image": x = x[:0]
    if kind == "no stain": x, names = x[:, :0], ()
    if kind == "small": x = x[..., :0]
    if kind == "names": names = STAINS[:1]
    if kind == "one pixel":
        x = x[..., :1, :1]
        if features is ft.intensity_features: pytest.skip("one pixel has a brightness")
    with pytest.raises(InputError) as e: features(x, names)
    sentence(e)

@pytest.mark.parametrize("kind", [k for k in IMAGES if k not in ("one stain",)])
def test_images_without_intensity_have_mean_0_and_sd_1_or_are_0(kind):
    x = IMAGES[kind](cells())
    z = ft.without_intensity(x)
    flat = np.ptp(x.astype(float), axis=(2, 3)) == 0
    assert np.isfinite(z).all() and not z[flat].any()
    np.testing.assert_allclose(z.astype(float).std((2, 3))[~flat], 1, rtol=1e-2)

@pytest.mark.parametrize("unit", [1e-15, 1e-6, 1e6, 1e15])
def test_texture_does_not_depend_on_the_unit_of_the_pixels(unit):
    x = cells().astype(float)
    pd.testing.assert_frame_equal(ft.texture_features(x*unit, STAINS), ft.texture_features(x, STAINS), rtol=1e-3, atol=1e-3)

@pytest.mark.parametrize("kind", ["constant", "nan", "no untreated", "infinite", "too large"])
def test_a_stain_without_a_scale_is_refused(kind):
    x, rows = cells().astype(float), np.arange(4)
    if kind == "constant": x[:, 1] = 5
    if kind == "nan": x[:, 1] = np.nan
    if kind == "infinite": x[0, 1] = np.inf
    if kind == "too large": x[:, 1] *= 1e200
    if kind == "no untreated": rows = np.zeros(4, bool)
    with pytest.raises(InputError) as e: ft.channel_scale(x, rows)
    sentence(e)

@pytest.mark.parametrize("kind", ["equal images", "two images", "one image", "one image differs", "huge", "tiny", "far from zero",
    "a flat stain", "nan"])
def test_pixel_components_are_finite_or_refused(kind):
    x = cells(6)
    if kind == "equal images": x = np.repeat(x[:1], 6, 0)
    if kind == "two images": x = x[:2]
    if kind == "one image": x = x[:1]
    if kind == "one image differs": x = np.concatenate([np.repeat(x[:1], 5, 0), x[1:2]])
    if kind == "huge": x = x*1e15
    if kind == "tiny": x = x*1e-15
    if kind == "far from zero": x = x + 1e5
    if kind == "a flat stain": x = x*np.array([1, 0], np.float32)[:, None, None]
    if kind == "nan": x = np.where(np.arange(6)[:, None, None, None] == 2, np.nan, x).astype(np.float32)
    found = defined(lambda: ft.PixelPCA("pca", x, 4).for_training(np.arange(len(x))))
    assert (found is None) == (kind in ("equal images", "one image", "nan"))
    if found is not None: assert np.isfinite(found).all()
    if kind in ("huge", "tiny"): np.testing.assert_allclose(found, ft.PixelPCA("pca", cells(6), 4).for_training(np.arange(6)), rtol=1e-2,
        atol=1e-2*np.abs(found).max())

@pytest.mark.parametrize("kind", ["constant feature", "one row a group", "equal groups", "one group", "three groups"])
def test_standard_differences_are_defined_or_refused(kind):
    rng = np.random.default_rng(0)
    t, g = pd.DataFrame(rng.standard_normal((10, 3)), columns=list("abc")), np.repeat(["x", "y"], 5)
    if kind == "constant feature": t["a"] = 0.1 + 1e6
    if kind == "one row a group": t, g = t.iloc[:2], np.array(["x", "y"])
    if kind == "equal groups": t = pd.concat([t.iloc[:5]]*2, ignore_index=True)
    if kind == "one group": g = np.array(["x"]*10)
    if kind == "three groups": g = np.array(list("xyz") + ["x"]*7)
    found = defined(lambda: ft.standard_differences(t, g))
    assert (found is None) == (kind in ("one group", "three groups"))
    if found is not None: assert np.isfinite(found).all() and ("a" not in found.index or kind != "constant feature")

@pytest.mark.parametrize("kind", ["all bright", "none bright", "one pixel", "one by one", "diagonal"])
def test_a_region_s_shape_is_defined(kind):
    region = np.zeros((2, 8, 8), bool)
    if kind == "all bright": region[:] = True
    if kind == "one pixel": region[:, 3, 4] = True
    if kind == "one by one": region = np.ones((2, 1, 1), bool)
    if kind == "diagonal": region[:] = np.eye(8, dtype=bool)
    shape = ft.region_shape(ft.bright_regions(region).largest)
    assert all(np.isfinite(v).all() for v in shape) and ((shape.eccentricity >= 0) & (shape.eccentricity <= 1)).all()

# robust z, sphering

def plates(seed=0, n=24, p=5):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, p)), np.repeat(["p1", "p2"], n//2), np.tile(np.arange(n//2) < 5, 2)

@pytest.mark.parametrize("kind", ["zero mad", "flat on a plate", "flat on all plates", "constant far from zero", "one control", "no control",
    "two controls", "nan reference", "nan treated", "infinite treated", "huge", "tiny", "no feature", "integers", "equal features"])
def test_a_robust_z_is_finite_or_refused(kind):
    x, plate, own = plates()
    if kind == "zero mad": x[own, 1] = np.array([3.0, 3, 3, 3, 4]*2)
    if kind == "flat on a plate": x[:12, 1] = 2.5
    if kind == "flat on all plates": x[:, 1] = 2.5
    if kind == "constant far from zero": x[:, 1] = 1e6 + 0.1
    if kind == "one control": own[1:12] = False
    if kind == "two controls": own[2:12] = False
    if kind == "no control": own[:12] = False
    if kind == "nan reference": x[0, 1] = np.nan
    if kind == "nan treated": x[10, 1] = np.nan
    if kind == "infinite treated": x[10, 1] = np.inf
    if kind == "huge": x = x*1e100
    if kind == "tiny": x = x*1e-100
    if kind == "no feature": x = x[:, :0]
    if kind == "integers": x = (x*10).astype(int)
    if kind == "equal features": x[:] = x[:, :1]
    z = defined(lambda: no.robust_z(x, plate, own))
    assert (z is None) == (kind in ("one control", "two controls", "no control", "nan reference", "nan treated", "infinite treated"))
    if z is None: return
    assert np.isfinite(z).all() and np.abs(z).max(initial=0) <= no.CLIP
    if kind in ("flat on all plates", "constant far from zero"): assert not z[:, 1].any()
    if kind in ("huge", "tiny"): np.testing.assert_allclose(z, no.robust_z(plates()[0], plate, own), rtol=1e-5)

@pytest.mark.parametrize("kind", ["constant", "one row", "two rows", "huge", "tiny", "more features", "nan", "strength nan", "strength 2"])
def test_sphering_is_finite_or_refused(kind):
    x, strength = plates()[0], 0.9
    if kind == "constant": x[:] = 2.2
    if kind == "one row": x = x[:1]
    if kind == "two rows": x = x[:2]
    if kind == "huge": x = x*1e100
    if kind == "tiny": x = x*1e-100
    if kind == "more features": x = np.random.default_rng(0).standard_normal((4, 30))
    if kind == "nan": x[0, 0] = np.nan
    if kind == "strength nan": strength = np.nan
    if kind == "strength 2": strength = 2.0
    try: z = no.Sphering(strength).fit(x).transform(x)
    except ValueError as e:  # an estimator's own words, or ours
        assert kind in ("one row", "nan", "strength nan", "strength 2") and str(e)
        return
    assert np.isfinite(z).all() and kind not in ("nan", "strength nan", "strength 2")

@pytest.mark.parametrize("kind", ["constant", "far from zero", "a group a row", "one group", "huge", "tiny", "nan"])
def test_a_share_between_groups_is_defined_or_missing(kind):
    x, g = plates()[0], plates()[1]
    if kind == "constant": x[:, 1] = 0.1 + 1e6
    if kind == "far from zero": x[:, 1] += 1e9
    if kind == "a group a row": g = np.arange(24)
    if kind == "one group": g = np.zeros(24)
    if kind == "huge": x = x*1e100
    if kind == "tiny": x = x*1e-100
    if kind == "nan": x[0, 1] = np.nan
    share = no.share_between(x, g)
    if kind in ("constant", "nan"): assert np.isnan(share[1])
    if kind == "a group a row": assert np.isnan(share).all()
    else: assert np.isfinite(share[0]) and share[0] <= 1
    if kind in ("huge", "tiny"): np.testing.assert_allclose(share, no.share_between(plates()[0], g), rtol=1e-6)

# the judge

def asked(table, values, **how):
    "Everything a study of features allows, judged."
    notes = []
    q = ju.questions(table, draws=2, note=notes.append)
    return ju.judge(ft.Fixed("fixed", values), table, q, how.pop("split", ("well", "plate", "week")), note=notes.append, **how), notes

JUDGED = ("as it is", "constant features", "one constant feature", "nan feature", "huge", "tiny", "one feature", "two plates", "one plate",
    "one week", "a drug in one week", "one drug", "one well a drug", "no untreated", "all untreated", "equal rows", "no feature", "infinite")

METHODS = {"usual": ju.USUAL, "raw": ju.Method("raw"), "sphered": ju.Method("robust z", 0.9, "discriminant")}
FEW = (("usual", "nan feature"), ("raw", "infinite"), ("raw", "no feature"), ("sphered", "all untreated"))

@pytest.mark.parametrize("method, kind", [pytest.param(m, k, marks=() if (m, k) in FEW else pytest.mark.slow) for m in METHODS for k in JUDGED])
def test_answers_are_scores_or_sentences(kind, method):
    method = METHODS[method]
    t = study_table()
    if kind == "two plates": t = study_table(("w1a", "w2a"))
    if kind == "one plate": t = study_table(("w1a",))
    if kind == "one week": t = study_table(("w1a", "w1b"))
    if kind == "one drug": t = study_table(drugs=("one",))
    if kind == "one well a drug": t = study_table(wells=1)
    if kind == "a drug in one week": t = t[~((t.treatment == "two") & (t.batch == "w2"))]
    if kind == "no untreated": t = t[~t.untreated]
    if kind == "all untreated": t = t[t.untreated]
    x = np.random.default_rng(0).standard_normal((len(t), 6)) + 2*(t.treatment == "one").to_numpy()[:, None]
    if kind == "constant features": x[:] = 1.5
    if kind == "one constant feature": x[:, 2] = 1e6 + 0.1
    if kind == "nan feature": x[3, 2] = np.nan
    if kind == "infinite": x[3, 2] = np.inf
    if kind == "huge": x = x*1e60
    if kind == "tiny": x = x*1e-60
    if kind == "one feature": x = x[:, :1]
    if kind == "no feature": x = x[:, :0]
    if kind == "equal rows": x[:] = x[0]
    found = defined(lambda: asked(t, x, method=method))
    assert (found is None) == (kind in ("nan feature", "infinite", "no feature", "no untreated", "all untreated") or kind == "no untreated")
    if found is None: return
    (said, scores), _ = found
    assert not scores[["accuracy", "balanced", "baseline", "balanced_baseline"]].isna().any(axis=None)
    assert scores.balanced.between(0, 1).all() and (scores.balanced_low <= scores.balanced_high).all()
    assert said.probability.between(0, 1).all()
    claims = ju.beside_shams(scores)
    if kind in ("constant features", "equal rows"): assert (claims.verdict != "above").all()
    if kind == "one plate": assert set(scores.split) == {"well"}
    text = ju.scores_text(claims)
    assert not NAN.search(text), text
    assert not NAN.search(ju.split_finding(scores))
    if kind in ("huge", "tiny"):
        plain = asked(t, x/(1e60 if kind == "huge" else 1e-60), method=method)[0].scores
        np.testing.assert_allclose(scores.balanced, plain.balanced)

def test_a_claim_without_a_checked_sham_is_not_above():
    "A comparison with a missing skill is no claim."
    row = dict(zip(ju.SAME, ("f", "robust z", "0.0", "logistic", 0.1, "plate"), strict=True))
    base = dict(row, warning="", balanced_low=0.8, balanced_high=1.0, balanced_baseline=0.5)
    rows = [dict(base, question="mechanism", kind="claim", balanced=0.9), dict(base, question="batch sham", kind="sham", balanced=0.5)]
    alone = ju.beside_shams(pd.DataFrame(rows[:1]))
    assert (alone.verdict == "unchecked").all()
    assert ju.split_finding(pd.DataFrame(rows)).endswith("above the shams that can be checked")  # the position sham is not there
    full = ju.beside_shams(pd.DataFrame([*rows, dict(base, question="position sham", kind="sham", balanced=0.5)]))
    assert (full.verdict == "above").all()
    three = pd.DataFrame([*rows, dict(base, question="position sham", kind="sham", balanced=0.5)])
    assert ju.split_finding(three).endswith("above both shams")
    lost = [dict(r, balanced_low=np.nan) if r["kind"] == "claim" else r for r in rows]
    lost = ju.beside_shams(pd.DataFrame([*lost, dict(base, question="position sham", kind="sham", balanced=0.5)]))
    assert (lost.verdict == "unchecked").all()

@pytest.mark.parametrize("truth, said, wanted", [(["a", "b"], ["a", "b"], 1.0), (["a"]*3, ["a", "b", "b"], 1/3),
    (["a", "a", "a", "b"], ["a"]*4, 0.5), ([], [], np.nan)])
def test_a_balanced_accuracy_is_a_mean_over_labels(truth, said, wanted):
    found = ju.balanced_accuracy(np.array(truth, object), np.array(said, object))
    assert found == pytest.approx(wanted, nan_ok=True)

def test_a_label_that_is_never_right_by_chance_has_no_skill_above_1():
    assert np.isnan(ju.skill(pd.Series([0.9]), pd.Series([1.0]))).all()  # one label: nothing to know

@pytest.mark.parametrize("rows", [0, 1, 2])
def test_position_alone_is_defined_for_few_rows(rows):
    t = study_table().iloc[:8]
    labels = np.array(["x", "y"], object)[np.arange(rows) % 2]
    found = defined(lambda: ju.position_alone(t, labels, np.arange(rows), np.arange(4, 8)))
    assert (found is None) == (rows == 0)

# activity

@pytest.mark.parametrize("kind", some(["constant", "equal wells", "one constant feature", "one replicate", "two replicates", "one control",
    "no control", "all untreated", "nan", "infinite", "huge", "tiny", "far from zero", "one plate", "no feature",
    "all drugs alike"], ("constant", "nan", "no feature", "two replicates")))
def test_activity_has_a_p_or_says_why_not(kind):
    t = study_table()
    if kind == "one replicate": t = study_table(("w1a",), wells=1)
    if kind == "two replicates": t = study_table(("w1a",), wells=2, untreated=3)
    if kind == "one control": t = study_table(untreated=1)
    if kind == "no control": t = t[~t.untreated]
    if kind == "all untreated": t = t[t.untreated]
    if kind == "one plate": t = study_table(("w1a",))
    x = np.random.default_rng(0).standard_normal((len(t), 6)) + 3*(t.treatment == "one").to_numpy()[:, None]
    if kind == "constant": x[:] = 0.1
    if kind == "equal wells": x[:] = x[0]
    if kind == "one constant feature": x[:, 1] = 1e6 + 0.1
    if kind == "nan": x[2, 1] = np.nan
    if kind == "infinite": x[2, 1] = np.inf
    if kind == "huge": x = x*1e100
    if kind == "tiny": x = x*1e-100
    if kind == "far from zero": x = x + 1e6
    if kind == "no feature": x = x[:, :0]
    found = defined(lambda: ac.activity(x, t, 400))
    assert (found is None) == (kind in ("no control", "all untreated", "nan", "infinite", "no feature"))
    if found is None: return
    known = found[found.p.notna()]
    assert (known.p > 0).all() and (known.p <= 1).all() and (known.p >= known.smallest - 1e-12).all() and (known.smallest > 0).all()
    assert found[found.p.isna()].q.isna().all() and not found[found.q.isna()].active.any()
    if kind in ("constant", "equal wells"): assert (known.p == 1).all() and not found.active.any()
    if kind == "one replicate": assert (found.status == "no pairs").all()
    if kind == "two replicates": assert (found.status == "cannot reach").all() or (found.smallest <= 0.05).any()
    if kind in ("huge", "tiny", "far from zero"):
        plain = ac.activity({"huge": x/1e100, "tiny": x/1e-100, "far from zero": x - 1e6}[kind], t, 400)
        np.testing.assert_allclose(found.p, plain.p)
    shams = defined(lambda: ac.sham_activity(x, t, 20, 200))
    shams = found.iloc[:0] if shams is None else shams
    text = ac.activity_text(found, shams)
    assert not NAN.search(text) and text and not NAN.search(ac.activity_finding(found, shams)), text

def test_the_smallest_p_that_could_be_reached_is_said():
    t = study_table(("w1a",), wells=2, untreated=3)
    x = np.random.default_rng(0).standard_normal((len(t), 4))
    found = ac.activity(x, t, 400)
    assert (found.smallest == 1/10).all() and (found.status == "cannot reach").all()
    assert "cannot reach" in ac.activity_text(found, found.iloc[:0]) and "p of 0.1" in ac.activity_text(found, found.iloc[:0])

@pytest.mark.parametrize("kind", some(["one mechanism", "two of one", "constant", "nan", "huge"], ("constant", "nan")))
def test_mechanisms_are_compared_or_refused(kind):
    t = study_table(drugs=("one", "two", "three", "four"))
    t["mechanism"] = t.treatment.map({"one": "a", "two": "a", "three": "b", "four": "b"}).fillna("")
    x = np.random.default_rng(0).standard_normal((len(t), 6))
    if kind == "one mechanism": t["mechanism"] = t.mechanism.replace("b", "a")
    if kind == "two of one": t["mechanism"] = t.treatment.map({"one": "a", "two": "b", "three": "c", "four": "d"}).fillna("")
    if kind == "constant": x[:] = 1
    if kind == "nan": x[-1, 0] = np.nan
    if kind == "huge": x = x*1e100
    found = defined(lambda: ac.mechanism_map(x, t, repeats=20))
    assert (found is None) == (kind in ("one mechanism", "nan"))
    if found is None: return
    known = found[found["map"].notna()]
    assert (known.p >= 1/21 - 1e-12).all() and (known.p <= 1).all() and found[found["map"].isna()].p.isna().all()
    if kind == "two of one": assert found["map"].isna().all()
    if kind == "constant": assert found.loc["all", "p"] > 0.05

# gallery

def some_study(t, features=None, pixels=None): return Study("some", t, STAINS if pixels is not None else (), pixels, features=features, key="k")

@pytest.mark.parametrize("kind", some(["constant", "one plate", "few references", "nan", "one treated image", "no treated image",
    "equal rows"], ("constant", "nan")))
def test_a_gallery_is_chosen_or_refused(kind):
    t = study_table()
    if kind == "one plate": t = study_table(("w1a",))
    if kind == "few references": t = study_table(untreated=2)
    if kind == "one treated image": t = pd.concat([t[t.untreated], t[~t.untreated].iloc[:1]])
    if kind == "no treated image": t = t[t.untreated]
    x = pd.DataFrame(np.random.default_rng(0).standard_normal((len(t), 6)), t.index)
    if kind == "constant": x[:] = 2.0
    if kind == "equal rows": x[:] = np.arange(6.0)
    if kind == "nan": x.iloc[0, 0] = np.nan
    def act():
        s = some_study(t, x)
        z = ga.comparable_features(s, note=lambda says: None)
        return ga.gallery(s, z), ga.neighbour_table(z, t), ga.treatment_table(z, t), ga.map_features(z)
    found = defined(act)
    assert (found is None) == (kind in ("few references", "nan", "no treated image"))
    if found is None: return
    table, near, treated, xy = found
    assert np.isfinite(table["value"]).all() and np.isfinite(xy).all(axis=None)
    assert near.share.astype(float).between(0, 1).all() and treated.share.astype(float).between(0, 1).all()
    if kind in ("constant", "equal rows"):
        assert (near.low.astype(float) <= near.chance.astype(float)).all(), near  # neighbours of equal images are no neighbours

# phenotype

@pytest.mark.parametrize("kind", some(["one set", "no reference", "missing scores"], ()))
def test_texts_of_scores_name_no_number_that_is_none(kind):
    t = study_table()
    t["mechanism"] = t.treatment.map({"one": "a", "two": "b"}).fillna("")
    x = np.random.default_rng(0).standard_normal((len(t), 6))
    said = asked(t, x, split=("plate",))[0].predictions.assign(features="texture", intensity="removed")
    other = said.assign(features="untrained", intensity="kept")
    both = said if kind == "one set" else other if kind == "no reference" else pd.concat([said, other], ignore_index=True)
    table = ph.scored(both)
    if kind == "missing scores": table.loc[table.features == "untrained", ["balanced", "balanced_low", "balanced_high"]] = np.nan
    assert not NAN.search(ph.claims_text(table))
    rows = table[(table.kind == "claim") & (table.question == "mechanism")]
    assert not NAN.search(ph._finding(rows, "mechanism")) and len(ph.headline(table))
    if kind == "missing scores": assert "untrained" not in ph._finding(rows, "mechanism")
