"""The placing: where a sweep runs and whether it can.

- `capacity`: pure arithmetic: how many trials of a given size fit the nodes there are, or may be started; why none does.
- `aws/`: a cluster file for `ray up`: head on demand, GPU workers on spot, down to none when idle.
- `kuberay/`: the same for Kubernetes, as a RayCluster and a RayJob.
- `Dockerfile`: the image that both start from.

Nothing here knows what a clip is, and `prp_core` never meets it: `orchestrator` asks, this package answers.
Every template starts Ray with token authentication and keeps its dashboard on loopback.
"""
