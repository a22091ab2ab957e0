"""Train, inspect and evaluate a pair of agents."""

# %% Compose a configuration, as the command line does.
from arc.api import compose, corpus, evaluate, load, train
from arc.training import Callback, ValidationEvent

config = compose(
    "task=selection",
    "task.num_distractors=9",
    "model=tiny",
    "data.filter_grid_size=[10,10]",
    "training.max_steps=60",
    "run_name=notebook",
)


# %% Follow the run with a callback.
class Accuracy(Callback):
    """Collects the validation accuracy."""

    def __init__(self):
        self.curve = []

    def on_event(self, event):
        """Keep the accuracy of each validation."""
        if isinstance(event, ValidationEvent):
            self.curve.append((event.step, event.row()["val_acc"]))


accuracy = Accuracy()
run = train(config, callbacks=[accuracy])
for step, percent in accuracy.curve:
    print(f"step {step:3d}: {percent:.1f} % of the validation targets found")

# %% The results have the same content as checkpoints/notebook_results.json.
test = run.results["test"]["random_9"]
print(f"test: {test['accuracy']:.1f} %, chance {test['baselines']['chance']:.1f} %")

# %% Send the validation grids and read four of their messages.
grids = corpus(config).validation.grids
messages = run.model.send(grids)[:4]  # int64 [4, max_message_length]
print(messages.tolist())

# %% Let the receiver choose between these four grids for each message.
candidates = [grids.arrays()[:4]] * 4
logits = run.model.receive(messages, candidates=candidates)  # float32 [4, 4]
print("picked:", logits.argmax(1).tolist())

# %% Change one symbol of the first message and compare the receiver's scores.
edited = messages[:1].clone()
edited[0, 0] = (edited[0, 0] + 1) % config.bottleneck.vocab_size
print("sent:  ", run.model.receive(messages[:1], candidates=candidates[:1]).softmax(1).tolist())
print("edited:", run.model.receive(edited, candidates=candidates[:1]).softmax(1).tolist())

# %% Later, and in another process: rebuild the model and evaluate it again.
loaded = load(run.checkpoints.best)
again = evaluate(run.checkpoints.best)
print(loaded.metadata["step"], again["test"]["random_9"]["accuracy"] == test["accuracy"])
