"""Pretraining by puzzle classification, on the training puzzles of the main task."""

from helpers_data import MakeConfig, puzzles_of

from arc.config.builders import build_pretraining, build_task


def test_classes_are_training_puzzles_of_the_main_task(make_config: MakeConfig) -> None:
    config = make_config("pretrain=puzzle_classification", "task=reconstruction")
    main, task = build_task(config), build_pretraining(config)
    assert puzzles_of(task.corpus.training) <= puzzles_of(main.corpus.training)
    assert task.num_classes == 2 * len(task.corpus.training.puzzle_ids)


def test_held_out_pairs_belong_to_training_puzzles(make_config: MakeConfig) -> None:
    corpus = build_pretraining(make_config("pretrain=puzzle_classification")).corpus
    assert len(corpus.validation) > 0
    assert len(corpus.test) > 0
    for split in (corpus.validation, corpus.test):
        assert puzzles_of(split) <= puzzles_of(corpus.training)
        trained = {tuple(place.split()[:3]) for place in corpus.training.example_ids}
        assert trained.isdisjoint(tuple(place.split()[:3]) for place in split.example_ids)
