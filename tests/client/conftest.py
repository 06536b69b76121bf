"""Certificates for gates on loopback."""

import pytest
from certificates import certificate


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    """Makes certificates by host name, once each."""
    made = {}

    def of(name):
        if name not in made:
            made[name] = certificate(tmp_path_factory.mktemp("certificate"), name)
        return made[name]

    return of


@pytest.fixture(scope="session")
def own_certificate(certificates):
    """A certificate to trust."""
    return certificates("localhost")[0]
