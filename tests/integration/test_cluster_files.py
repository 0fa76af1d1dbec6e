"""The files under cluster/: valid for Ray, EC2 and KubeRay, and as closed as the docs say."""

from __future__ import annotations

import argparse
import copy
import json
import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import botocore.session
import jsonschema
import pytest
import yaml
from botocore.validate import ParamValidator
from ray.autoscaler._private.util import fillout_defaults, prepare_config, validate_config

from cluster.capacity import NodeShape, TrialBundle, plan_capacity, read_cluster
from orchestrator.config.run_config import load_config
from orchestrator.sweep.arguments import parse_arguments

ROOT = Path(__file__).resolve().parents[2]
CLUSTER = ROOT / "cluster"
KUBERAY_FILES = ("rayjob", "raycluster")


def load(name: str) -> dict[str, Any]:
    """The one document of cluster/`name`."""
    return dict(yaml.safe_load((CLUSTER / name).read_text()))


@pytest.fixture
def aws() -> dict[str, Any]:
    return load("aws/cluster.yaml")


def node_configs(aws: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {name: one["node_config"] for name, one in aws["available_node_types"].items()}


class TestAws:
    def test_ray_accepts_it(self, aws: dict[str, Any]) -> None:
        validate_config(fillout_defaults(aws))
        prepared = prepare_config(aws)
        assert prepared["available_node_types"]["head"]["max_workers"] == 0

    def test_ray_refuses_a_misspelt_key(self, aws: dict[str, Any]) -> None:
        aws["available_node_types"]["gpu_spot"]["max_worker"] = 3
        with pytest.raises(jsonschema.ValidationError, match="max_worker"):
            validate_config(fillout_defaults(aws))

    def test_nothing_of_rays_defaults_is_left(self, aws: dict[str, Any]) -> None:
        """Ray merges its own AWS defaults under ours: its old image, pip install, a dashboard open
        to all. None may shine through.
        """
        merged = prepare_config(aws)
        text = json.dumps(merged)
        assert set(merged["available_node_types"]) == {"head", "gpu_spot", "gpu_on_demand"}
        assert "pip install -U" not in text
        assert "anaconda" not in text
        assert "0.0.0.0" not in text

    def test_ec2_accepts_the_node_configs(self, aws: dict[str, Any]) -> None:
        """Against botocore's own model of RunInstances, strictly: an unknown name is an error."""
        shape = (
            botocore.session.get_session()
            .get_service_model("ec2")
            .operation_model("RunInstances")
            .input_shape
        )
        assert shape is not None
        for name, config in node_configs(aws).items():
            report = ParamValidator().validate({**config, "MinCount": 1, "MaxCount": 1}, shape)
            assert not report.has_errors(), f"{name}: {report.generate_report()}"
        wrong = {**node_configs(aws)["head"], "MetadataOption": {}, "MinCount": 1, "MaxCount": 1}
        assert ParamValidator().validate(wrong, shape).has_errors(), (
            "the validator lets misspelt names pass"
        )

    def test_the_head_is_on_demand_and_workers_scale_to_zero(self, aws: dict[str, Any]) -> None:
        types = aws["available_node_types"]
        spot = {
            name
            for name, config in node_configs(aws).items()
            if config.get("InstanceMarketOptions", {}).get("MarketType") == "spot"
        }
        assert spot == {"gpu_spot"}
        assert aws["head_node_type"] not in spot
        assert {one.get("min_workers", 0) for one in types.values()} == {0}
        assert aws["idle_timeout_minutes"] > 0
        assert aws["provider"]["cache_stopped_nodes"] is False
        assert len(aws["provider"]["availability_zone"].split(",")) >= 3
        without_market = {
            key: value
            for key, value in types["gpu_spot"]["node_config"].items()
            if key != "InstanceMarketOptions"
        }
        assert types["gpu_on_demand"]["node_config"] == without_market
        assert types["gpu_on_demand"]["resources"] == types["gpu_spot"]["resources"]

    def test_every_ray_command_runs_with_the_token(self, aws: dict[str, Any]) -> None:
        commands = aws["head_start_ray_commands"] + aws["worker_start_ray_commands"][:2]
        starts = [command for command in commands if "ray start" in command]
        assert len(starts) == 2
        for command in commands:
            assert re.search(r"\bRAY_AUTH_MODE=token\b.*\bray (start|stop)\b", command), command
        assert aws["file_mounts"]["/home/ubuntu/.ray/auth_token"] == "~/.ray/auth_token"
        assert any("chmod 600 ~/.ray/auth_token" in command for command in aws["setup_commands"])
        assert not re.search(r"RAY_AUTH_TOKEN=", (CLUSTER / "aws/cluster.yaml").read_text()), (
            "the token itself never stands in a command line"
        )

    def test_a_worker_passes_on_that_its_machine_goes_away(self, aws: dict[str, Any]) -> None:
        """The watcher runs with Ray's token, apart from the SSH session that starts it."""
        (command,) = aws["worker_start_ray_commands"][2:]
        assert "RAY_AUTH_MODE=token setsid nohup ~/prp-node/.venv/bin/python" in command
        assert command.endswith("2>&1 < /dev/null &")
        script = "/home/ubuntu/prp-node/drain_node.py"
        assert script.replace("/home/ubuntu", "~") in command
        assert aws["file_mounts"][script] == "cluster/drain_node.py"
        assert "--watch-spot --address=$RAY_HEAD_IP:6379" in command

    def test_the_dashboard_is_on_loopback(self, aws: dict[str, Any]) -> None:
        assert "--dashboard-host=127.0.0.1" in aws["head_start_ray_commands"][1]
        assert not aws["provider"]["security_group"].get("IpPermissions"), (
            "no port beyond ssh is opened"
        )

    def test_instances_answer_imdsv2_only_and_encrypt(self, aws: dict[str, Any]) -> None:
        for name, config in node_configs(aws).items():
            assert config["MetadataOptions"]["HttpTokens"] == "required", name
            assert config["MetadataOptions"]["HttpPutResponseHopLimit"] == 1, name
            assert all(disk["Ebs"]["Encrypted"] for disk in config["BlockDeviceMappings"]), name

    def test_nodes_are_installed_from_the_lock_file(self, aws: dict[str, Any]) -> None:
        commands = "\n".join(aws["setup_commands"])
        assert "uv sync --frozen" in commands
        assert "--require-hashes" in commands
        for local in aws["file_mounts"].values():
            assert local.startswith("~") or (ROOT / local).is_file(), (
                f"{local} is not in the repository"
            )
        assert "**/.git/**" in aws["rsync_exclude"]

    def test_the_scorer_of_the_head_is_the_one_that_is_copied(self, aws: dict[str, Any]) -> None:
        start = aws["head_start_ray_commands"][1]
        assert "RAY_AUTOSCALER_UTILIZATION_SCORER=spot_first.score" in start
        assert "RAY_enable_autoscaler_v2=0" in start, "Ray's autoscaler 2 takes no scorer"
        assert Path("/home/ubuntu/prp-node/spot_first.py").as_posix() in aws["file_mounts"]

    def test_a_sweep_reads_from_it_how_far_the_cluster_grows(
        self, aws: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import ray

        head = {
            "Alive": True,
            "Resources": {"CPU": 4.0, "node:__internal_head__": 1.0},
            "Labels": {},
        }
        monkeypatch.setattr(ray, "nodes", lambda: [head])
        assert (
            "PRP_AUTOSCALING_CONFIG=$HOME/ray_bootstrap_config.yaml"
            in aws["head_start_ray_commands"][1]
        )
        shape = read_cluster({"PRP_AUTOSCALING_CONFIG": str(CLUSTER / "aws/cluster.yaml")})
        assert shape.nodes == (
            NodeShape(4, 0, 1, 1),
            NodeShape(8, 1, 0, 8, "gpu_spot"),
            NodeShape(8, 1, 0, 2, "gpu_on_demand"),
        )
        assert plan_capacity(TrialBundle(2, 8, 1), shape).max_concurrent_trials == 4, (
            "max_workers of the cluster binds at 8"
        )

    @pytest.mark.parametrize("name", ["head-policy", "worker-policy"])
    def test_the_roles_may_do_little(self, name: str) -> None:
        statements = json.loads((CLUSTER / f"aws/{name}.json").read_text())["Statement"]
        actions = {
            action
            for one in statements
            for action in ([one["Action"]] if isinstance(one["Action"], str) else one["Action"])
        }
        assert not [action for action in actions if "*" in action]
        everywhere = {one["Sid"] for one in statements if one["Resource"] == "*"}
        assert everywhere <= {"SeeInstances"}, "only looking may be everywhere"
        if name == "worker-policy":
            assert {action.split(":")[0] for action in actions} == {"s3"}
        else:
            ending = next(one for one in statements if "ec2:TerminateInstances" in one["Action"])
            assert ending["Condition"] == {
                "StringEquals": {
                    "aws:ResourceTag/ray-cluster-name": load("aws/cluster.yaml")["cluster_name"]
                }
            }


def schema_dir() -> Path | None:
    """Where KubeRay's CRDs lie: the folder in PRP_KUBERAY_SCHEMAS, or shared/schemas beside the
    repository.
    """
    named = os.environ.get("PRP_KUBERAY_SCHEMAS")
    path = Path(named) if named else ROOT.parent / "shared" / "schemas"
    if named and not path.is_dir():
        raise FileNotFoundError(f"PRP_KUBERAY_SCHEMAS = {named!r}: there is no such folder")
    return path if (path / "ray.io_rayjobs.yaml").is_file() else None


def strict_schema(kind: str) -> dict[str, Any] | None:
    """The CRD's schema of version v1, in which a name it does not know is an error; None where no
    CRD is at hand.
    """
    folder = schema_dir()
    if folder is None:
        return None
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    crd = yaml.load(
        (folder / f"ray.io_{kind}s.yaml").read_text(), Loader=loader
    )  # a safe loader, in C where there is one
    schema = next(one for one in crd["spec"]["versions"] if one["name"] == "v1")["schema"][
        "openAPIV3Schema"
    ]
    for one in sub_schemas(schema):
        if (
            "properties" in one
            and not one.get("x-kubernetes-preserve-unknown-fields")
            and "additionalProperties" not in one
        ):
            one["additionalProperties"] = False
        if one.get("x-kubernetes-int-or-string"):
            for rule in ("type", "anyOf", "pattern"):
                one.pop(rule, None)
    schema["properties"]["metadata"] = {"type": "object"}
    return dict(schema)


def sub_schemas(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for one in list(value.values()):
            yield from sub_schemas(one)
    elif isinstance(value, list):
        for one in value:
            yield from sub_schemas(one)


def ray_cluster_spec(document: dict[str, Any]) -> dict[str, Any]:
    return dict(
        document["spec"]["rayClusterSpec"] if document["kind"] == "RayJob" else document["spec"]
    )


def pods(spec: dict[str, Any]) -> list[dict[str, Any]]:
    """Pod specs of the head and of every group of workers."""
    return [
        group["template"]["spec"] for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"])
    ]


@pytest.mark.parametrize("name", KUBERAY_FILES)
class TestKubeRay:
    def test_the_crd_accepts_it_and_finds_a_misspelling(self, name: str) -> None:
        schema = strict_schema(name)
        if schema is None:
            warnings.warn(
                "KubeRay's CRDs are not at hand (PRP_KUBERAY_SCHEMAS): cluster/kuberay "
                "was checked for its structure only",
                stacklevel=1,
            )
            assert ray_cluster_spec(load(f"kuberay/{name}.yaml"))["rayVersion"]
            return
        validator = jsonschema.Draft7Validator(schema)
        document = load(f"kuberay/{name}.yaml")
        assert [
            f"{'/'.join(map(str, error.path))}: {error.message[:200]}"
            for error in validator.iter_errors(document)
        ] == []
        for misspell in (
            lambda spec: spec["autoscalerOptions"].update(idleTimeoutSecond=1),
            lambda spec: spec["authOptions"].update(mode="tokens"),
            lambda spec: spec["workerGroupSpecs"][0]["template"]["spec"]["containers"][0].update(
                resource={}
            ),
        ):
            wrong = copy.deepcopy(document)
            misspell(ray_cluster_spec(wrong))
            assert list(validator.iter_errors(wrong)), "the strict schema let a misspelling pass"

    def test_it_asks_for_the_token_and_scales_to_zero(self, name: str) -> None:
        spec = ray_cluster_spec(load(f"kuberay/{name}.yaml"))
        assert spec["authOptions"] == {"mode": "token"}
        assert spec["enableInTreeAutoscaling"] is True
        assert [
            (group["replicas"], group["minReplicas"]) for group in spec["workerGroupSpecs"]
        ] == [(0, 0)]
        assert (
            f'"ray[default,train,tune]=={spec["rayVersion"]}"'
            in (ROOT / "pyproject.toml").read_text()
        )

    def test_pods_are_unprivileged_and_bounded(self, name: str) -> None:
        spec = ray_cluster_spec(load(f"kuberay/{name}.yaml"))
        assert spec["autoscalerOptions"]["securityContext"]["runAsNonRoot"] is True
        for pod in pods(spec):
            assert pod["securityContext"]["runAsNonRoot"] is True
            assert pod["securityContext"]["runAsUser"] > 0
            assert pod["restartPolicy"] == "Never"
            for container in pod["containers"]:
                assert container["securityContext"]["allowPrivilegeEscalation"] is False
                assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
                assert set(container["resources"]) == {"requests", "limits"}
                assert not [
                    one for one in container["env"] if "PASSWORD" in one["name"] and "value" in one
                ], "a password stands in the file"

    def test_a_sweep_is_told_how_far_the_cluster_grows(self, name: str) -> None:
        spec = ray_cluster_spec(load(f"kuberay/{name}.yaml"))
        head = spec["headGroupSpec"]["template"]["spec"]["containers"][0]
        told = json.loads(
            next(one["value"] for one in head["env"] if one["name"] == "PRP_AUTOSCALED_NODES")
        )
        assert told == [
            {
                "name": group["groupName"],
                "cpus": int(group["rayStartParams"]["num-cpus"]),
                "gpus": int(group["rayStartParams"]["num-gpus"]),
                "max_count": group["maxReplicas"],
            }
            for group in spec["workerGroupSpecs"]
        ]
        for group in spec["workerGroupSpecs"]:
            limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
            assert (limits["cpu"], limits["nvidia.com/gpu"]) == (
                group["rayStartParams"]["num-cpus"],
                group["rayStartParams"]["num-gpus"],
            )


def entrypoint_arguments(job: dict[str, Any]) -> argparse.Namespace:
    """The job's arguments as the study that it starts reads them."""
    words = job["spec"]["entrypoint"].split()
    assert words[0] == "python" and (ROOT / words[1]).is_file()
    return parse_arguments(words[2:], "")


def test_the_job_brings_up_the_cluster_of_the_other_file_and_goes_on_with_its_sweep() -> None:
    job = load("kuberay/rayjob.yaml")
    assert ray_cluster_spec(job) == ray_cluster_spec(load("kuberay/raycluster.yaml"))
    assert job["spec"]["shutdownAfterJobFinishes"] is True
    assert job["spec"]["backoffLimit"] > 0
    arguments = entrypoint_arguments(job)
    assert arguments.sweep, "a retry would start another sweep"
    assert arguments.storage.startswith("s3://"), "the head's disk goes with it"
    assert arguments.preset == "ucf101_r3d" and arguments.data.startswith("s3://")


def test_nothing_of_a_sweep_lives_on_the_head_alone() -> None:
    pod = ray_cluster_spec(load("kuberay/raycluster.yaml"))["headGroupSpec"]["template"]["spec"]
    (head,) = pod["containers"]
    home = next(one["value"] for one in head["env"] if one["name"] == "PRP_HOME")
    mount = next(one for one in head["volumeMounts"] if home.startswith(one["mountPath"]))
    (volume,) = [one for one in pod["volumes"] if one["name"] == mount["name"]]
    assert set(volume) == {"name", "emptyDir"}
    terms = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    (term,) = terms["nodeSelectorTerms"]
    assert {one["operator"] for one in term["matchExpressions"]} == {"NotIn"}, "no spot node"


def test_a_worker_pod_announces_its_end_and_has_time_for_a_checkpoint() -> None:
    spec = ray_cluster_spec(load("kuberay/raycluster.yaml"))
    for group in spec["workerGroupSpecs"]:
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        command = container["lifecycle"]["preStop"]["exec"]["command"]
        assert command[:3] == ["python", "-m", "cluster.drain_node"]
        seconds = float(command[command.index("--seconds") + 1])
        assert pod["terminationGracePeriodSeconds"] >= seconds + 30


@pytest.mark.parametrize("preset", ["ucf101_r3d", "ucf101_c3d", "ucf101_r2plus1d"])
def test_a_worker_of_each_preset_fits_a_node_of_each_template(preset: str) -> None:
    resources = load_config(preset).resources
    nodes = [
        group["rayStartParams"]
        for group in ray_cluster_spec(load("kuberay/raycluster.yaml"))["workerGroupSpecs"]
    ]
    shapes = [(float(one["num-cpus"]), float(one["num-gpus"])) for one in nodes]
    for name in ("gpu_spot", "gpu_on_demand"):
        held = load("aws/cluster.yaml")["available_node_types"][name]["resources"]
        shapes.append((held["CPU"], held["GPU"]))
    for cpus, gpus in shapes:
        assert resources.cpus_per_worker <= cpus and resources.gpus_per_worker <= gpus


def test_pods_leave_room_for_the_daemons_of_the_machine_that_is_named() -> None:
    """A g5.2xlarge is sold with 8 CPUs and 32 GiB; the kubelet gives about 7.9 and 30 of them."""
    spec = ray_cluster_spec(load("kuberay/raycluster.yaml"))
    assert "g5.2xlarge" in (CLUSTER / "kuberay/raycluster.yaml").read_text()
    for group in spec["workerGroupSpecs"]:
        requests = group["template"]["spec"]["containers"][0]["resources"]["requests"]
        assert float(requests["cpu"]) <= 7.5
        assert int(requests["memory"].removesuffix("Gi")) <= 28


def test_kueue_gets_a_job_of_a_fixed_size_that_its_queue_can_hold() -> None:
    """Kueue admits a whole cluster at once, so the patch takes the autoscaler out."""
    job = load("kuberay/rayjob.yaml")
    for step in json.loads((CLUSTER / "kuberay/kueue-patch.json").read_text()):
        apply_json_patch(job, step)
    schema = strict_schema("rayjob")
    if schema is not None:
        assert list(jsonschema.Draft7Validator(schema).iter_errors(job)) == []
    spec = ray_cluster_spec(job)
    assert spec["enableInTreeAutoscaling"] is False and "autoscalerOptions" not in spec
    (group,) = spec["workerGroupSpecs"]
    assert group["replicas"] == group["minReplicas"] == group["maxReplicas"] == 4
    head = spec["headGroupSpec"]["template"]["spec"]["containers"][0]
    assert json.loads(head["env"][0]["value"])[0]["max_count"] == 4
    documents = list(yaml.safe_load_all((CLUSTER / "kuberay/kueue.yaml").read_text()))
    by_kind = {one["kind"]: one for one in documents}
    queue = by_kind["LocalQueue"]
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == queue["metadata"]["name"]
    assert queue["spec"]["clusterQueue"] == by_kind["ClusterQueue"]["metadata"]["name"]
    (flavor,) = by_kind["ClusterQueue"]["spec"]["resourceGroups"][0]["flavors"]
    assert flavor["name"] == by_kind["ResourceFlavor"]["metadata"]["name"]
    quota = {one["name"]: one["nominalQuota"] for one in flavor["resources"]}
    requests = group["template"]["spec"]["containers"][0]["resources"]["requests"]
    assert set(requests) <= set(quota)
    assert 2 * 4 * float(requests["cpu"]) + 2 * 2 <= quota["cpu"]
    assert quota["nvidia.com/gpu"] >= 2 * 4


def apply_json_patch(document: Any, step: dict[str, Any]) -> None:
    """Apply one operation (add, replace, remove) of RFC 6902 to `document`, in place."""
    *path, last = [
        word.replace("~1", "/").replace("~0", "~") for word in step["path"].split("/")[1:]
    ]
    for word in path:
        document = document[int(word) if isinstance(document, list) else word]
    key: Any = int(last) if isinstance(document, list) else last
    if step["op"] == "remove":
        del document[key]
        return
    assert step["op"] == "add" or key in document or isinstance(document, list), step
    document[key] = step["value"]


def test_the_network_policy_covers_the_ray_pods() -> None:
    policy = load("kuberay/networkpolicy.yaml")["spec"]
    spec = ray_cluster_spec(load("kuberay/raycluster.yaml"))
    ours = policy["podSelector"]["matchLabels"].items()
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        labels = {
            **group["template"]["metadata"]["labels"],
            "ray.io/is-ray-node": "yes",
        }  # the second is KubeRay's own
        assert ours <= labels.items()
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
    assert all(rule["from"] for rule in policy["ingress"])
    outside = [
        peer["ipBlock"]
        for rule in policy["egress"]
        for peer in rule.get("to", [])
        if "ipBlock" in peer
    ]
    assert all("169.254.169.254/32" in block["except"] for block in outside)


def test_images_run_a_user_who_is_not_root_from_locked_packages() -> None:
    for name in ("Dockerfile", "mlflow/Dockerfile"):
        lines = (CLUSTER / name).read_text().splitlines()
        assert "USER 10001" in lines, name
        assert not [
            line for line in lines if "pip install" in line and "--require-hashes" not in line
        ], name
    image = (CLUSTER / "Dockerfile").read_text()
    (installed,) = re.findall(r"^RUN uv sync (.*)", image, re.M)
    assert "--frozen" in installed
    assert "--compile-bytecode" in installed, "its user cannot write what Python compiles"


def bases_of(dockerfile: str) -> list[str]:
    """The images that `dockerfile` begins with, each variable replaced by its default."""
    default = dict(re.findall(r"^ARG (\w+)=(\S+)", dockerfile, re.M))
    names = re.findall(r"^FROM (\S+)", dockerfile, re.M)
    assert names
    return [re.sub(r"\$\{(\w+)\}", lambda found: default[found[1]], name) for name in names]


def test_every_image_is_built_on_one_base_that_a_digest_names() -> None:
    files = [
        path
        for room in ROOT.iterdir()
        if room.is_dir() and not room.name.startswith(".")
        for path in room.rglob("*Dockerfile*")
        if path.suffix != ".dockerignore"
    ]
    bases = {base for path in files for base in bases_of(path.read_text())}
    assert all(re.fullmatch(r"[^@$]+:[^@$]+@sha256:[0-9a-f]{64}", base) for base in bases), bases
    assert len(files) == 2 and len(bases) == 1
    images = [
        found
        for path in CLUSTER.rglob("*.yaml")
        for found in re.findall(r"^\s*(?:- )?image: (?:&\w+ )?([^*\s]+)", path.read_text(), re.M)
    ]
    assert images and all(one.startswith("REGISTRY/prp") for one in images), images


def test_the_mlflow_server_asks_for_a_password_everywhere() -> None:
    dockerfile = (CLUSTER / "mlflow/Dockerfile").read_text()
    assert '"--app-name", "basic-auth"' in dockerfile
    assert "default_permission = NO_PERMISSIONS" in (CLUSTER / "mlflow/basic_auth.ini").read_text()
    service = load("mlflow/compose.yaml")["services"]["mlflow"]
    assert service["ports"] == ["127.0.0.1:5000:5000"]
    assert all(":?" in value for value in service["environment"].values()), (
        "compose refuses to start without its secrets"
    )
    documents = {
        one["kind"]: one
        for one in yaml.safe_load_all((CLUSTER / "mlflow/kubernetes.yaml").read_text())
    }
    assert set(documents) == {"Deployment", "Service", "PersistentVolumeClaim", "NetworkPolicy"}
    pod = documents["Deployment"]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert all("secretKeyRef" in one["valueFrom"] for one in pod["containers"][0]["env"])
    host = pod["containers"][0]["readinessProbe"]["httpGet"]["httpHeaders"][0]["value"]
    assert f'"{host},' in dockerfile, "the probe's Host header is not among --allowed-hosts"
    locked = re.search(r'name = "mlflow"\nversion = "([^"]+)"', (ROOT / "uv.lock").read_text())
    assert locked
    assert f"mlflow=={locked[1]} " in (CLUSTER / "mlflow/requirements.txt").read_text()
