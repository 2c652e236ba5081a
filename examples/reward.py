"""What a simulated run was worth, from the record that it left: `splitplace simulate ... --trace-dir record`."""

import pyarrow.parquet as pq

tasks = pq.read_table("record/tasks.parquet").to_pylist()
worth = [
    ((task["response_s"] <= task["deadline_s"]) + task["p"]) / 2 if task["finished"] else 0.0
    for task in tasks
    if task["scored"]
]
print(f"reward {sum(worth) / len(worth):.3f} of {len(worth)} scored tasks" if worth else "no task is scored")
