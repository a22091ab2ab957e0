"""One run from its plan to its results: a training of both agents, or of the encoder alone."""

from __future__ import annotations

import contextlib
import logging
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from arc.checkpointing import prepare_folder, read_checkpoint, sweep_temporaries
from arc.checkpointing.loader import fit_weights
from arc.checkpointing.policy import CheckpointPolicy, EncoderCheckpointPolicy
from arc.checkpointing.restore import begin_from, start_encoder
from arc.checkpointing.writer import TAKEN
from arc.config.builders import (
    build_model,
    build_pretraining,
    build_pretraining_model,
    build_task,
    build_trainer,
    with_data,
)
from arc.config.files import ConfigError
from arc.config.run_status import State, read_json, read_status
from arc.config.schema import RunConfig, to_tree
from arc.io.trees import leaves
from arc.loggers import LOGGERS, Logger
from arc.models import ARCAutoencoder
from arc.runs.plan import RunPlan, refuse_taken_name
from arc.runs.results import (
    EvaluationOptions,
    evaluate_pretraining,
    evaluate_run,
    write_results,
)
from arc.runs.run_lock import run_lock
from arc.runs.status_file import StatusFile
from arc.tasks import Task
from arc.training import (
    Callback,
    CallbackList,
    DivergedError,
    Outcome,
    ProcessGroup,
    RunControl,
    RunEnded,
    Trainer,
    TrainingEnded,
    pick_device,
    seed_everything,
)
from arc.training.allocator import MemoryTrimmer, trim
from arc.training.callbacks import in_one_line
from arc.training.distributed import is_connection_error

log = logging.getLogger(__name__)
STATES: dict[str, State] = {  # in the status file, by the kind of the outcome
    "finished": "finished",
    "stopped": "interrupted",
    "failed": "failed",
}


@dataclass(frozen=True)
class Run:
    """The parts of a run, wired together and ready to train."""

    plan: RunPlan
    config: RunConfig
    output: Path
    task: Task
    trainer: Trainer
    policy: CheckpointPolicy
    ranks: ProcessGroup

    @property
    def folder(self) -> Path:
        """The folder of its checkpoints and results."""
        return self.policy.folder

    @property
    def results_path(self) -> Path:
        """The file of its final results."""
        return self.folder / f"{self.config.run_name}_results.json"

    @property
    def is_finished(self) -> bool:
        """Whether the run has already reached its full length and was evaluated."""
        return self.trainer.reached_limit and self.stored_results is not None

    @property
    def stored_results(self) -> dict[str, Any] | None:
        """The content of the results file; None unless it is of the present step and whole."""
        results = read_json(self.results_path)
        is_whole = results.get("steps") == self.trainer.step and "stopped" not in results
        return results if is_whole else None

    @property
    def best_model(self) -> ARCAutoencoder:
        """The model of the best checkpoint, or the last state if there is none."""
        policy, model = self.policy, self.trainer.model
        if isinstance(policy, EncoderCheckpointPolicy):
            if policy.best_state:
                model.load_state_dict(policy.best_state)
            return model
        if not policy.best.exists():
            return model
        weights = read_checkpoint(policy.best, model.device)["model_state_dict"]
        with torch.random.fork_rng(devices=()):  # initial weights are drawn, and replaced
            best = build_model(self.config)
        fit_weights(policy.best, best, weights)
        return best.to(model.device).eval()


@dataclass(frozen=True)
class RunStarted:
    """A run was built and is about to train."""

    run: Run


@dataclass(frozen=True)
class RunResult:
    """What ``run_to_end`` returns; ``results`` is the content of the results file."""

    run: Run
    outcome: Outcome
    results: dict[str, Any] | None = None


# -- building ----------------------------------------------------------------------------


def build_run(plan: RunPlan, output: Path, ranks: ProcessGroup | None = None) -> Run:
    """Build the run that ``plan`` describes; its log files go to the folder ``output``.

    Raises ValueError (ConfigError, DataError, CheckpointError) if that is not possible.
    """
    ranks = ranks or ProcessGroup()
    folder = Path(plan.config.checkpoint.dir)
    if ranks.is_leader:
        prepare_folder(folder)
        for path in sweep_temporaries(folder):
            log.info(f"removed {path}, an incomplete save of a process that died")
        output.mkdir(parents=True, exist_ok=True)
    build = _build_training if plan.config.mode == "train" else _build_pretraining
    run = build(plan, output, ranks)
    machine = {"device", "checkpoint", "run_name"}
    ranks.require_same(
        {
            "the step of the checkpoint": run.trainer.step,
            "the data fingerprint": run.task.corpus.fingerprint,
            **leaves(run.config.model_dump(exclude=machine, serialize_as_any=True)),
        }
    )
    ranks.broadcast_parameters(run.trainer.model.state_dict().values())
    return run


def _build_training(plan: RunPlan, output: Path, ranks: ProcessGroup) -> Run:
    device = ranks.init(pick_device(plan.config.device))
    task = build_task(plan.config, device)
    config = with_data(plan.config, task.num_classes)
    seed_everything(config.seed)
    trainer = build_trainer(config, task, build_model(config).to(device), ranks=ranks)
    _describe(config, f"{config.task.name} through {config.bottleneck.name}", trainer)
    started_from = [] if plan.source is None else begin_from(plan.source, config, trainer)
    encoder = config.encoder
    if encoder.pretrained is not None and not plan.resumes:
        started_from += [start_encoder(encoder.pretrained, "encoder.pretrained", config, trainer)]
    if encoder.freeze and encoder.pretrained is None and plan.source is None:
        log.warning(
            "encoder.freeze: the encoder keeps its random initial weights; set encoder.pretrained "
            "to the file of a pretrained encoder"
        )
    elif encoder.freeze:
        log.info("encoder.freeze: the weights of the encoder do not change")
    policy = CheckpointPolicy(config, trainer, started_from)
    if plan.source is not None and plan.resumes:
        name = plan.source.content["config"].get("run_name")
        policy.earlier_best = plan.source.path.with_name(f"{name}_best.pth")
    return Run(plan, config, output, task, trainer, policy, ranks)


def _build_pretraining(plan: RunPlan, output: Path, ranks: ProcessGroup) -> Run:
    config, own = plan.config, plan.config.pretrain
    device = ranks.init(pick_device(config.device))
    task = build_pretraining(config, device)
    training = config.training.model_copy(
        update={"epochs": own.epochs, "learning_rate": own.learning_rate}
    )
    seed_everything(config.seed)
    model = build_pretraining_model(config, task.num_classes).to(device)
    trainer = build_trainer(config, task, model, training=training, ranks=ranks)
    _describe(config, f"pretraining by {own.name}", trainer)
    started_from = []
    if own.init_from is not None:
        started_from += [start_encoder(own.init_from, "pretrain.init_from", config, trainer)]
    policy = EncoderCheckpointPolicy(config, trainer, started_from)
    return Run(plan, config, output, task, trainer, policy, ranks)


def _describe(config: RunConfig, title: str, trainer: Trainer) -> None:
    corpus, training = trainer.task.corpus, trainer.config
    weights = sum(parameter.numel() for parameter in trainer.model.parameters())
    precision = "fp32" if trainer.autocast is None else "bf16"
    size = trainer.ranks.size
    shared = f", each batch shared by {size} processes" if size > 1 else ""
    log.info(
        f"run {config.run_name}: {title}, {weights:,} weights, {trainer.model.device}, "
        f"{precision}{shared}"
    )
    log.info(
        f"data: {config.data.name}, {len(corpus.training)} training, "
        f"{len(corpus.validation)} validation, {len(corpus.test)} test examples"
    )
    for note in corpus.notes + trainer.task.notes:
        log.info(f"data: {note}")
    if config.mode == "train" and trainer.task.presets and not config.data.augment:
        presets = " or ".join(f"experiment={name}" for name in trainer.task.presets)
        log.info(f"without data.augment=true the agents memorise the training grids; see {presets}")
    if trainer.progress is None:
        log.info("no length is set: the run continues until it is stopped")
    elif trainer.schedule_progress is None and config.schedule.name != "constant":
        log.warning(
            "training.max_minutes alone does not set the length of the schedule, so the learning "
            "rate stays constant; set training.max_steps, or training.schedule_by=time"
        )
    key = "training.epochs" if config.mode == "train" else "pretrain.epochs"
    steps = (training.epochs or 0) * trainer.sampler.batches_per_epoch
    if training.max_steps is not None and steps > training.max_steps:
        log.warning(
            f"training.max_steps={training.max_steps} ends the run before {key}={training.epochs} "
            f"({steps} steps); training.max_steps=null removes the limit"
        )


# -- running -----------------------------------------------------------------------------


def run_to_end(
    run: Run, *, control: RunControl | None = None, callbacks: Sequence[Callback] = ()
) -> RunResult:
    """Train, save and evaluate; used by the command line, server, Python API and tests.

    ``callbacks`` receive every event: RunStarted, those of training, TrainingEnded, those of the
    final evaluation, RunEnded. Whatever ends the training, pending saves are finished and the last
    good state is saved; an error is reported in the outcome. Processes other than the leader only
    train. Raises ConfigError if another process writes the same run. A KeyboardInterrupt is raised
    again after the saves.
    """
    control = control or RunControl()
    status = StatusFile(run)
    if run.is_finished:
        if run.ranks.is_leader:
            status.write("finished", results=run.stored_results)
        log.info(
            f"{run.config.run_name} is complete: it reached "
            f"{' and '.join(run.trainer.reached_limits)}; to train longer, set a higher limit"
        )
        run.ranks.shutdown()
        return RunResult(run, Outcome("finished"))
    if not run.ranks.is_leader:
        return RunResult(run, _follow(run, control))
    name = run.policy.best.stem.removesuffix("_best")
    with run_lock(run.folder, name, run.policy.is_untouched) as is_locked:
        run.policy.is_locked = is_locked
        refuse_taken_name(run.plan)  # again, now that no other process can write the run
        if run.plan.resumes:
            run.policy.preserve_checkpoints()
            run.policy.fetch_best()
        is_known = read_status(run.output).get("run_name") == run.config.run_name
        loggers = _loggers(run, continues=is_known and run.plan.may_resume)
        events = CallbackList([run.policy, status, *loggers, *callbacks, MemoryTrimmer()])
        status.write("running")
        try:
            result = _train_and_evaluate(run, control, events)
        except KeyboardInterrupt:
            status.write("interrupted")
            raise
        finally:
            events.close()
        state = STATES[result.outcome.kind]
        status.write(state, result.outcome.error, result.results)
        return result


def _follow(run: Run, control: RunControl) -> Outcome:
    """Train in a process that is not the leader of its group."""
    trimmer = MemoryTrimmer()
    try:
        for event in run.trainer.run(control):
            trimmer.on_event(event)
    except Exception as error:
        rank, is_own = run.ranks.rank, not is_connection_error(error)
        fault = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
        if is_own:
            log.error(f"rank {rank} failed", exc_info=error)
        lost = run.ranks.leave_after_fault(fault if is_own else None)
        fault = _with_reports(fault, lost)
        if not is_own:
            log.error(f"rank {rank} ends: {fault}")
        return Outcome("failed", f"rank {rank}: {fault}")
    run.ranks.shutdown()
    return Outcome("stopped" if control.stop_requested else "finished")


def _with_reports(fault: str, reports: Mapping[int, str | None]) -> str:
    """Return the ``fault`` of this process after those that caused it in other processes."""
    causes = [f"rank {rank}: {report}" for rank, report in reports.items() if report is not None]
    return "; ".join([*causes, fault])


def _loggers(run: Run, *, continues: bool) -> list[Logger]:
    """Build the selected loggers; one that fails is reported and left out.

    ``continues``: the output folder is that of the run that is resumed.
    """
    loggers = []
    tree = to_tree(run.config)
    trainer = run.trainer
    for name, config in run.config.logger.selected.items():
        try:
            logger = LOGGERS[name](config, run.output, tree)
            logger.begin(trainer.step)
            if continues:
                logger.continue_from(trainer.step, is_validated=trainer.is_validated)
            loggers.append(logger)
        except (Exception, SystemExit) as error:
            fault = in_one_line(error)
            log.error(f"logger={name}: {fault}; training continues without it")
    return loggers


def _train_and_evaluate(run: Run, control: RunControl, events: CallbackList) -> RunResult:
    events.on_event(RunStarted(run))
    outcome = _train(run, control, events)
    events.on_event(TrainingEnded(outcome))
    results = None
    if outcome.kind == "finished":
        try:
            outcome, results = _evaluate(run, control, events)
        except (Exception, SystemExit) as error:
            cause = _one_line(error, run.output)
            outcome = Outcome("failed", f"the final evaluation failed: {cause}")
            log.error(outcome.error)
    events.on_event(RunEnded(outcome, results))
    return RunResult(run, outcome, results)


def _train(run: Run, control: RunControl, events: CallbackList) -> Outcome:
    """Train until the end or a stop, and finish every save, even after an error."""
    fault = None
    try:
        for event in run.trainer.run(control):
            events.on_event(event)
        failed = run.policy.finish()
    except KeyboardInterrupt:  # of a notebook; the commands handle the signal themselves
        run.policy.finish()
        log.info(f"interrupted after step {run.trainer.step}. {_saved(run)}")
        raise
    except (Exception, SystemExit) as error:
        fault = _one_line(error, run.output)
        own = None if is_connection_error(error) else fault
        fault = _with_reports(fault, run.ranks.leave_after_fault(own))
        failed = run.policy.finish()
    run.ranks.shutdown()
    fault = fault or _save_fault(run, failed)
    if fault is not None:
        fault = f"{fault}. {_saved(run)}" if run.policy.is_locked() else fault
        log.error(fault)
        return Outcome("failed", fault)
    if control.stop_requested or not run.trainer.reached_limit:
        reason = control.reason or "training.stop_at_step"
        log.info(f"stopped at step {run.trainer.step} ({reason}). {_saved(run)}")
        return Outcome("stopped")
    warmup = run.trainer.config.warmup_steps
    if run.trainer.step < warmup:
        log.warning(
            f"the run ended after {run.trainer.step} steps, during its warm-up: "
            f"training.warmup_steps={warmup}"
        )
    return Outcome("finished")


def _save_fault(run: Run, failed: Sequence[Any]) -> str | None:
    """Log failed saves; return the fault if the file that the run requires is not written."""
    failures = run.policy.writer.failures
    if failed:
        log.error(f"{failures} saves failed; the last one: {failed[-1].error}")
    elif failures:
        log.warning(f"{failures} saves failed; all were retried successfully")
    return next((save.error for save in failed if save.path == run.policy.required_path), None)


def _one_line(error: BaseException, output: Path) -> str:
    """Describe an error in one line; the traceback of an unexpected one goes to a file."""
    text = (str(error).splitlines() or [""])[0]
    if isinstance(error, DivergedError | ValueError):
        return text
    with contextlib.suppress(OSError):
        path = output / "traceback.txt"
        path.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
        return f"{type(error).__name__}: {text} (traceback: {path})"
    return f"{type(error).__name__}: {text}"


def _saved(run: Run) -> str:
    last, best = run.policy.last, run.policy.saved_best
    if last is not None and last.exists() and run.trainer.step > 0:
        return f"The last state is in {last}"
    return "Nothing was saved" if best is None else f"The best state is in {best}"


def _evaluate(
    run: Run, control: RunControl, events: CallbackList
) -> tuple[Outcome, dict[str, Any]]:
    """Evaluate the best state on the test set, once; write and return the results.

    A stop ends the evaluation early; the results so far are kept.
    """
    trim()
    log.info(f"testing {run.policy.saved_best or 'the last state'}")
    evaluate = evaluate_run if run.config.mode == "train" else evaluate_pretraining
    options = EvaluationOptions(report=events.on_event, should_stop=lambda: control.stop_requested)
    results = evaluate(
        run.config,
        run.best_model,
        run.task,
        options,
        minutes=run.trainer.seconds / 60,
        steps=run.trainer.step,
        started_from=run.policy.started_from,
    )
    if not run.policy.is_locked():
        raise ConfigError(f"{run.results_path}: not written: {TAKEN}")
    write_results(run.results_path, results)
    log.info(f"results and checkpoints: {run.folder}/{run.config.run_name}_*")
    if results.get("stopped"):
        log.info(f"the evaluation was stopped ({control.reason}); the results so far are kept")
        return Outcome("stopped"), results
    return Outcome("finished"), results
