"""The study as a whole: known truth found, saved splits disjoint, shuffled tables judged alike, and the command from tables to prediction."""
import numpy as np
import pandas as pd
import pytest

from drugnb.command import main
from drugnb.core.settings import InputError
from drugnb.essentiality.data import enough, simulate_screen, write_screen
from drugnb.essentiality.held_out import (
    all_scores,
    judged,
    ranked_perturbations,
    score_rows,
    scores_text,
    screen_folds,
    screen_models,
)
from drugnb.essentiality.judge import agreement, fold_scores

QUICK = "mean effects,tissue mean,PCA-50 ridge,fast model"

@pytest.fixture(scope="module")
def screen(): return enough(simulate_screen(n_lines=110, n_genes=90, n_drugs=20, n_pathways=6, n_tissues=5, seed=5), 0.5)

@pytest.fixture(scope="module")
def scores(screen):
    parts = screen_folds(screen.known, 4)
    made = {name: judged(screen, model, parts) for name, model in screen_models(QUICK).items()}
    return pd.concat([rows.assign(model=name) for name, (rows, _) in made.items()]), made["fast model"][1]

def test_models_stand_in_the_order_that_the_truth_gives(screen, scores):
    table = all_scores(scores[0], screen.perturbations.repeat_of).spearman.unstack()
    assert (table["mean effects"] == 0).all()
    assert (table.loc["new lines"].loc[["PCA-50 ridge", "fast model"]] > table.loc["new lines", "tissue mean"] + 0.05).all()
    assert abs(table.loc["new lines, within tissues", "tissue mean"]) < 1e-9 and abs(table.loc["new tissues", "tissue mean"]) < 1e-9
    assert (table.drop(index="new lines").loc[:, "fast model"] < table.loc["new lines", "fast model"] + 0.1).all()

def test_kept_predictions_are_those_that_were_scored(screen, scores):
    rows, kept = scores
    assert kept.shape == screen.responses.shape and kept.notna().all(axis=None)
    part = screen_folds(screen.known, 4)[2]
    again = fold_scores(screen.responses.to_numpy()[part[-1]], kept.to_numpy()[part[-1]])[0]
    mine = rows[(rows.model == "fast model") & (rows.split == "new lines") & (rows.fold == "2")].set_index("perturbation").spearman
    assert np.allclose(mine.loc[screen.responses.columns], again, equal_nan=True)

def test_the_second_screen_is_scored_on_left_out_lines_only(screen):
    part = next(p for p in screen_folds(screen.known, 4) if p[0] == "new lines")
    names = [t.split.iloc[0] for t in score_rows(screen, part, np.random.default_rng(0).random((len(part[-1]), screen.responses.shape[1])))]
    assert names == ["new lines", "new lines, within tissues", "second screen"]
    second = list(score_rows(screen, part, np.random.default_rng(0).random((len(part[-1]), screen.responses.shape[1]))))[2]
    lines = screen.responses.index[part[-1]]
    assert second.n.max() <= screen.second.index.isin(lines).sum()

def test_shuffled_labels_leave_nothing(screen):
    rng = np.random.default_rng(0)
    mixed = screen.responses.to_numpy()[rng.permutation(len(screen.responses))]
    from dataclasses import replace
    noise = replace(screen, responses=pd.DataFrame(mixed, screen.responses.index, screen.responses.columns), second=None)
    rows, _ = judged(noise, screen_models("fast model")["fast model"], screen_folds(noise.known, 4, only="new lines"))
    assert abs(rows[rows.split == "new lines"].spearman.mean()) < 0.15

def test_the_ranking_and_the_text_say_what_the_table_says(screen, scores):
    rows = scores[0]
    table = all_scores(rows, screen.perturbations.repeat_of)
    text = scores_text(table.reset_index())
    assert "new lines: 20 perturbations" in text and f"{table.loc[('new lines', 'fast model'), 'spearman']:.3f} (" in text
    mine = rows[(rows.model == "fast model") & (rows.split == "new lines")]
    ranked = ranked_perturbations(mine, screen.perturbations, agreement(screen))
    assert ranked.spearman.is_monotonic_decreasing and np.isclose(ranked.spearman.mean(), table.loc[("new lines", "fast model"), "spearman"])
    assert (ranked.low <= ranked.high).all() and ranked.label.is_unique

def test_splits_that_cannot_be_made_are_named(screen):
    notes = []
    alike = screen.known._replace(tissue=np.full(len(screen.responses), ""))
    assert {p[0] for p in screen_folds(alike, 3, note=notes.append)} == {"new lines"} and "'new tissues' is left out" in notes[0]
    with pytest.raises(InputError, match="No split is left"): screen_folds(alike, 3, only="new tissues", note=notes.append)
    with pytest.raises(InputError, match="no model 'LEEP'"): screen_models("LEEP")

def test_one_model_more_does_not_change_the_others(screen):
    parts = screen_folds(screen.known, 3, only="new lines")[:1]
    alone, _ = judged(screen, screen_models("PCA-50 ridge")["PCA-50 ridge"], parts)
    beside, _ = judged(screen, screen_models("tissue mean, PCA-50 ridge")["PCA-50 ridge"], parts)
    pd.testing.assert_frame_equal(alone, beside)

@pytest.mark.slow
def test_from_tables_to_a_prediction_by_the_command(screen, tmp_path, monkeypatch, capsys):
    "A folder of tables in another order: checked, run, and asked about new lines."
    monkeypatch.chdir(tmp_path)
    write_screen(screen, tmp_path/"mine")
    path = next((tmp_path/"mine").glob("*expression*"))
    table = pd.read_csv(path, index_col=0)
    shuffled = table.sample(frac=1, random_state=0).sample(frac=1, axis=1, random_state=1)
    shuffled.to_csv(path)
    main(["check", "essentiality", "--data", "mine"])
    assert "20 perturbations" in capsys.readouterr().out
    main(["run", "essentiality", "--data", "mine", "--quiet", "-p", f"models={QUICK}", "-p", "folds=3", "-p", "only=new lines",
          "-p", "permutations=50", "-p", "pages=1"])
    assert "new lines: 20 perturbations" in capsys.readouterr().out
    run = tmp_path/"runs/essentiality/mine"
    splits = pd.read_csv(run/"splits.csv.gz")
    for _, fold in splits.groupby("fold"):
        patients = [set(screen.lines.patient[fold.id[fold.role == role]]) for role in ("train", "test")]
        assert not patients[0] & patients[1]
    new = shuffled.iloc[:5].rename(index=lambda i: f"new {i}")
    new.to_csv(tmp_path/"new.csv")
    main(["predict", "--study", "essentiality", "new.csv", "--model", "runs/essentiality/mine", "--out", "said.csv"])
    said = pd.read_csv(tmp_path/"said.csv")
    assert len(said) == 5*20 and (said.low < said.high).all()
    with pytest.raises(SystemExit) as e: main(["check", "essentiality", "--data", "gdcs"])
    assert e.value.code == 2 and "did you mean 'gdsc'" in capsys.readouterr().err
