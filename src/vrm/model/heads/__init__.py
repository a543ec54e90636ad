"""Heads: from pooled hidden states to objective weights (1), semantic features (2) and what (3) and (5) need.

Each head is one class in a file of its own. To add one, write `NAME.py` with a subclass of `JudgmentHead`, and give its
name and its class one line in `vrm.choices.HEADS`. The class states what the head can do. Other code asks for that
through the configuration (`VRMConfig.has_weight_uncertainty`, ...) and never compares names.

`JudgmentHead` is the plainest head; override what differs, and extend `reset_parameters` by every parameter that you
add, since nothing else gives it a value:
    feature_network    from a completion to its features: a linear layer, or a sequence that ends with one
    objective_weights  for several objectives; also state `models_objectives`
    rating_model       for ratings that train their own slope, offset and scale: the base's stay at 1, 0 and 1
    fit_inputs         for networks whose inputs are to be standardized too
`ObjectivesHead` has the last three, by a network that reads the prompt; of it override `weights_from` alone.
"""
