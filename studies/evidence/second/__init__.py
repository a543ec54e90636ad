"""Part two of docs/evidence.md: where the latents pay, one file a question in `questions/`."""
