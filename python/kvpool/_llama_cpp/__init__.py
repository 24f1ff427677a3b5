"""What kvpool.llama_cpp is made of; import that."""
