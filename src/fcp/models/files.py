"""Names of the files of a model folder; the only place where they are defined."""

CONFIG_FILE = "config.json"  # settings of the model
WEIGHTS_FILE = "model.safetensors"
PRESENCE_FILE = "presence.json"  # judge of presence, fitted to these weights; may be missing
BEST_FOLDER = "best"  # folder in a run, of the model with the best score on the hold-out
RECIPE_FILE = "recipe.json"  # settings of the training
LEARNER_FILE = "base_learner.json"  # recipe of the base learner that a method started from
CARD_FILE = "README.md"  # model card
