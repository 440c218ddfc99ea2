"""Encoders that are no numbers, or files that are no encoders: never saved, never loaded, never silent."""
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from drugnb.core.settings import InputError
from drugnb.morphology import simclr
from drugnb.morphology.features import Scale
from drugnb.morphology.simclr import Recipe, load_arrays, load_encoder, save_arrays, train, untrained

torch = pytest.importorskip("torch")
STAINS, SMALL = ("DNA", "Actin"), Recipe(epochs=1, batch=4, dim=4, orientations=1, device="cpu")


def sentence(error): assert str(error.value).endswith((".", "?")) and "\n" not in str(error.value), str(error.value)

def world(n=6, size=16):
    images = pd.DataFrame({"plate": "P1", "well": [f"A0{i}" for i in range(n)], "condition": ["DMSO", "drug"]*(n//2),
        "untreated": [True, False]*(n//2)})
    return np.random.default_rng(0).random((n, 2, size, size), np.float32), images.set_axis([f"i{k}" for k in range(n)], axis=0)

@pytest.mark.parametrize("kind", ["equal images", "constant images", "one image", "nan", "infinite", "no untreated", "a batch of one",
    "two images", "other stains"])
def test_training_ends_in_an_encoder_or_a_sentence(kind, tmp_path):
    x, images = world()
    recipe = SMALL
    if kind == "equal images": x[:] = x[0]
    if kind == "constant images": x[:] = 1
    if kind == "one image": x, images = x[:1], images.iloc[:1]
    if kind == "two images": x, images = x[:2], images.iloc[:2]
    if kind == "nan": x[1, 0, 2, 2] = np.nan
    if kind == "infinite": x[1, 0, 2, 2] = np.inf
    if kind == "no untreated": images["untreated"] = False
    if kind == "a batch of one": recipe = replace(SMALL, batch=5)
    try: made = train(x, images, STAINS[:1] if kind == "other stains" else STAINS, recipe, checkpoint=tmp_path/"c.npz")
    except InputError as e:
        assert str(e).endswith((".", "?")) and kind not in ("equal images", "a batch of one", "two images")
        return
    assert kind in ("equal images", "a batch of one", "two images")
    assert np.isfinite(made.embed(x)).all() and np.isfinite(made.history.to_numpy()).all()

@pytest.mark.parametrize("change", [dict(temperature=0.0), dict(temperature=1e-9), dict(temperature=np.nan), dict(temperature=np.inf),
    dict(lr=np.nan), dict(lr=1e38), dict(batch=1), dict(dim=0), dict(epochs=-1), dict(warmup=np.nan), dict(weight_decay=np.nan),
        dict(weight_decay=-1.0)])
def test_a_recipe_that_means_nothing_is_refused(change):
    with pytest.raises(InputError) as e: replace(SMALL, **change)
    sentence(e)

def test_an_encoder_with_a_weight_that_is_no_number_is_neither_saved_nor_loaded(tmp_path, monkeypatch):
    made = untrained(STAINS, SMALL)
    with torch.no_grad(): next(made.network.parameters())[0] = np.nan
    with pytest.raises(InputError) as e: made.save(tmp_path/"e.npz")
    sentence(e)
    assert not list(tmp_path.iterdir())
    with monkeypatch.context() as m:
        m.setattr(simclr, "require_weights", lambda *given: None)
        made.save(tmp_path/"e.npz")
    with pytest.raises(InputError) as e: load_encoder(tmp_path/"e.npz")
    sentence(e)

ABOUT = {"scale nan": lambda a: a.update(scale=[[0, float("nan")], [1, 1]]), "scale of one stain": lambda a: a.update(scale=[[0], [1]]),
    "scale that falls": lambda a: a.update(scale=[[0, 2], [1, 1]]),
         "scale text": lambda a: a.update(scale="x"), "no recipe": lambda a: a.pop("recipe"),
         "recipe a list": lambda a: a.update(recipe=[1]), "a stain twice": lambda a: a.update(channels=["DNA", "DNA"]),
         "no stain": lambda a: a.update(channels=[]), "another encoder": lambda a: a["recipe"].update(encoder="big"),
         "temperature text": lambda a: a["recipe"].update(temperature="hot"),
         "history text": lambda a: a.update(history="x"), "an unknown field": lambda a: a.update(more=1),
         "report a number": lambda a: a.update(report=[1]), "views null": lambda a: a["recipe"].update(views=None)}

@pytest.mark.parametrize("fault", ABOUT)
def test_what_an_encoder_s_file_says_is_checked_though_its_checksum_is_right(fault, tmp_path):
    untrained(STAINS, SMALL).save(tmp_path/"e.npz")
    arrays, about = load_arrays(tmp_path/"e.npz", "encoder")
    about = json.loads(json.dumps(about))
    ABOUT[fault](about)
    save_arrays(tmp_path/"e.npz", arrays, about)
    with pytest.raises(InputError) as e: load_encoder(tmp_path/"e.npz")
    sentence(e)

def test_a_scale_for_each_stain_is_needed(tmp_path):
    made = replace(untrained(STAINS, SMALL), scale=Scale(np.zeros(2), np.zeros(2)))
    with pytest.raises(InputError) as e: made.save(tmp_path/"e.npz")
    sentence(e)

@pytest.mark.parametrize("seed", range(20))
def test_a_flipped_byte_of_an_encoder_is_seen_or_harmless(seed, tmp_path):
    made, rng = untrained(STAINS, SMALL), np.random.default_rng(seed)
    made.save(tmp_path/"e.npz")
    data = bytearray((tmp_path/"e.npz").read_bytes())
    data[rng.integers(len(data))] ^= 1 << rng.integers(8)
    (tmp_path/"e.npz").write_bytes(data)
    try: again = load_encoder(tmp_path/"e.npz")
    except InputError as e: assert str(e).endswith(".")
    else: assert again.key == made.key  # a byte that says nothing, such as a date

@pytest.mark.parametrize("content", [b"", b"PK", b"\x93NUMPY", b"x"*1000])
def test_a_file_that_is_no_encoder_is_refused(content, tmp_path):
    (tmp_path/"e.npz").write_bytes(content)
    with pytest.raises(InputError) as e: load_encoder(tmp_path/"e.npz")
    sentence(e)
