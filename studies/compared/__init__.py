"""What each of five packages for reward models does, tried one question at a time: the table of docs/compared.md."""
