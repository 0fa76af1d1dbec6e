"""Ray cluster: the connection to Ray, and what a sweep takes of the cluster's resources.

`connect.py` joins a cluster whose address answers (`cluster_address.py`) or starts a local one
(`local_ray.py`, whose nodes run `setup_worker.py` to start a worker, which asks a `fork_server.py`
for a process that has torch, and `absent_agent.py` in the place of the dashboard's agent),
`head_watch.py` says when its head is away, `concurrency.py` says how many trials run there at once
and where their rungs are evaluated, `worker_group.py` runs one training on a group of Ray Train
workers, whose controller runs in the process that starts it
(`train_controller.py`), which `process_group.py` joins to torch's process group and which hear of
it when a machine of theirs goes away (`preemption.py`); `named_groups.py` takes back what a group
holds whose driver died. `driver_placement.py` says where the processes run that drive them,
`worker_failures.py` reads the errors of a group that was lost, `composed_actor.py` is an actor of
several objects with a handle for each, `task_pool.py` runs tasks over a list of work, and
`task_cancellation.py` ends one that nobody waits for.
"""
