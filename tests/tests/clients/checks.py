"""A check for schemathesis, whose own wants 405: a method that a path does not have is refused as Firecracker refuses it."""

import schemathesis


@schemathesis.check
def unknown_methods_are_bad_requests(ctx, response, case):
    method = response.request.method
    declared = {name.upper() for name in case.operation.schema[case.operation.path]}
    if method in declared:
        return
    assert response.status_code == 400, f"{method} was answered by {response.status_code}"
    if method != "HEAD":
        assert "fault_message" in response.json(), f"{method} was refused without a fault_message"
