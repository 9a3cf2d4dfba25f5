"""What holds for every unit test."""

from hypothesis import HealthCheck, settings

# How long an example takes says more of the machine than of the code: no test is about time.
settings.register_profile("any-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any-machine")
