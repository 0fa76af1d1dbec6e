"""Cluster: where a sweep runs, whether its trials fit there, and what that costs.

- `capacity`: how many trials of a given size fit the nodes that there are or that may be started,
  and why none does.
- `prices`: what an hour of the machines costs, by a dated list that a person can replace.
- `aws/`: a cluster file for `ray up`: head on demand, GPU workers on spot, on demand where spot is
  short, none when idle.
- `kuberay/`: the same for Kubernetes, as a RayCluster and a RayJob; `Dockerfile` is the image of
  both.
- `mlflow/`: an MLflow server that asks for a password.
- `drain_node`: passes on to Ray the notice that a machine goes away.
- `bundled_libraries`: the native libraries inside installed wheels and their licences, for NOTICE
  and the SBOM.
- `uv.txt`: uv itself, pinned by hash, with which nodes and images install `uv.lock`.

Nothing here knows what a clip is, and `prp_core` never meets it: `orchestrator` asks, this package
answers. Every template starts Ray with token authentication; the dashboard is on loopback, or
behind a network policy in Kubernetes.
"""
