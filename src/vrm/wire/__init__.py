"""What a reward server and its clients send each other. Imports neither torch nor transformers."""

TOKEN_VARIABLE = "VRM_SERVER_TOKEN"
"""Environment variable of the token that a server asks for; the server and its clients read it."""
