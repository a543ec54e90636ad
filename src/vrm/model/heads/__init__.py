"""Heads: from pooled hidden states to objective weights (1), semantic features (2) and what (3) and (5) need.

Each head is one class in a file of its own. To add one, write `NAME.py` with a subclass of `JudgmentHead`, and give its
name and its class one line in `vrm.choices.HEADS`. The class states what the head can do. Other code asks for that
through the configuration (`VRMConfig.has_weight_uncertainty`, ...) and never compares names.
"""
