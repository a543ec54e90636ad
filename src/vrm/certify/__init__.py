"""The certificate (18) of trained heads: their margins on held-out prompts, the bound, and a table with its words."""

from vrm.certify.heads import certify_head
from vrm.certify.table import print_certificate

__all__ = ["certify_head", "print_certificate"]
