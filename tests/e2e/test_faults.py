"""One replica of each kind killed under load: nothing is lost. The long form is `make chaos`."""

from functools import partial

import pytest

from serve_app.loadtest import parse_profile, poisson
from tests.chaos.faults import kill, replica
from tests.chaos.service import PHOTOS
from tests.chaos.trial import REFUSALS, Fault, run_trial
from tests.e2e.conftest import Cluster

pytestmark = pytest.mark.cluster


def test_a_killed_replica_of_each_kind_loses_no_request(cluster: Cluster) -> None:
    faults = [
        Fault(at_s, partial(kill, replica(deployment)))
        for at_s, deployment in ((2, "classifier-dress"), (4, "detector"), (8, "router"))
    ]
    trial = run_trial("kills", cluster.service.url, list(poisson(parse_profile("4x14"))), PHOTOS, faults)
    assert trial.num_lost == trial.num_duplicated == 0, trial.by_code
    assert trial.by_code.keys() <= {"ok", "partial", "deadline_exceeded", *REFUSALS}, trial.by_code
    assert cluster.client.post("/v1/tag", content=PHOTOS[0].body).status_code == 200
