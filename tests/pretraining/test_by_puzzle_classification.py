"""Naming puzzles before the game: held-out pairs of the puzzles that the game trains on."""

from helpers_data import MakeConfig, puzzles_of

from arc.config.builders import build_pretraining, build_task


def test_only_puzzles_that_the_game_trains_on_are_named(make_config: MakeConfig) -> None:
    config = make_config("pretrain=puzzle_classification", "task=reconstruction")
    game, task = build_task(config), build_pretraining(config)
    assert puzzles_of(task.corpus.training) <= puzzles_of(game.corpus.training)
    assert task.num_classes == 2 * task.corpus.num_puzzles


def test_held_out_pairs_are_of_the_puzzles_that_are_named(make_config: MakeConfig) -> None:
    corpus = build_pretraining(make_config("pretrain=puzzle_classification")).corpus
    assert len(corpus.validation) > 0
    assert len(corpus.test) > 0
    for split in (corpus.validation, corpus.test):
        assert puzzles_of(split) <= puzzles_of(corpus.training)
        trained = {tuple(place.split()[:3]) for place in corpus.training.example_ids}
        assert trained.isdisjoint(tuple(place.split()[:3]) for place in split.example_ids)
