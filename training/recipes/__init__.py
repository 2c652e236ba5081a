"""What is trained: full models, semantic trees, SplitNet's, compressed models, all taught by distillation."""
