"""Who runs what: deciders choose a task's split, placers choose its devices, `plan` composes them."""
