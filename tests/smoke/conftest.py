import os
import sys

import pytest

from mmmim.data.synthetic import ScenesSpec, make_scenes
from tests.smoke.launching import call, free_port, pretrain_command, teacher_file


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    spec = ScenesSpec(unlabelled=40, labelled=8, validation=4)
    return make_scenes(tmp_path_factory.mktemp("data") / "scenes", spec)


@pytest.fixture(scope="module")
def small_teacher(tmp_path_factory):
    return teacher_file(tmp_path_factory.mktemp("teacher") / "teacher.pth", seed=0)


SRUN = """#!/usr/bin/env bash
# Does what srun does on one node.
set -eu
declare -A given
while [[ $1 == --* ]]; do given[${1%%=*}]=${1#*=}; shift; done
[ "${given[--partition]} ${given[--job-name]} ${given[--gres]}" = "some job gpu:2" ]
[ "${given[--ntasks-per-node]} ${given[--cpus-per-task]} ${given[--exclusive]}" = "2 1 --exclusive" ]
export SLURM_NTASKS=${given[--ntasks]} SLURM_NODELIST=node1
for ((i = 0; i < SLURM_NTASKS; i++)); do SLURM_PROCID=$i SLURM_LOCALID=$i "$@" & pids+=($!); done
for pid in "${pids[@]}"; do wait "$pid"; done
"""


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """Environment of a SLURM cluster whose only node is this machine, with two GPUs requested."""
    folder = tmp_path_factory.mktemp("slurm")
    commands = dict(srun=SRUN, scontrol="#!/bin/sh\n[ $3 = node1 ] && echo 127.0.0.1\n")
    for name, script in commands.items():
        (folder / name).write_text(script)
        (folder / name).chmod(0o755)
    asked = dict(GPUS="2", GPUS_PER_NODE="2", CPUS_PER_TASK="1", SRUN_ARGS="--exclusive")
    return dict(asked, PATH=f"{folder}:{os.environ['PATH']}", MASTER_PORT=free_port())


@pytest.fixture(scope="module")
def uninterrupted(scenes, tmp_path_factory):
    work_dir = tmp_path_factory.mktemp("uninterrupted")
    call([sys.executable, *pretrain_command(work_dir)], scenes)
    return work_dir
