// Readable labels for configuration keys and metrics; the keys themselves are shown as tooltips.

const LABELS = {
  task_type: "Task",
  num_distractors: "Number of distractors",
  distractors: "Distractor kind",
  use_input_output_pairs: "Input–output pairs",
  bottleneck_type: "Bottleneck",
  vocab_size: "Vocabulary size",
  max_message_length: "Maximum message length",
  hidden_dim: "Hidden dimension",
  latent_dim: "Latent dimension",
  num_conv_layers: "Convolutional layers",
  max_grids: "Maximum number of grids",
  filter_grid_size: "Grid size filter",
  augment: "Data augmentation",
  seed: "Random seed",
  max_steps: "Maximum steps",
  num_epochs: "Epochs",
  use_pretrained: "Pretrained encoder",
  pretrain_task_type: "Pretraining task",
  pretrain_epochs: "Pretraining epochs",
  pretrain_learning_rate: "Pretraining learning rate",
  load_pretrained_before_pretrain: "Start from pretrained encoder",
  same_colors: "same size and colors",
  val_acc: "Validation accuracy",
  val_loss: "Validation loss",
  grids: "accuracy, mean over grids",
  cells: "cell accuracy",
  exact: "exact match",
  top1: "top-1 accuracy",
  top5: "top-5 accuracy",
};

/** A name inside a sentence: `random_codes` becomes "random codes". */
export const words = (key) => LABELS[key] ?? String(key).replaceAll("_", " ");

/** A label of its own: `batch_size` becomes "Batch size". */
export const label = (key) => words(key).replace(/^./, (first) => first.toUpperCase());
