"""The cause of an error of an object store, in whichever client's words: obstore's, delta-rs's or Hadoop's."""

import re

from dualpath.errors import DualpathError, InputError, UnavailableError

CLIENTS = re.compile(r"Error performing (?:GET|PUT|HEAD|POST|DELETE|list)\b|awssdk|NoAuthWithAWSException")
STATUS = re.compile(r"(?:non-2xx status code|Status Code:)(?:\x1b\[\d+m|[^\d\x1b])*(\d{3})")
CODE = re.compile(r"<Code>(\w+)</Code>")
NOBODY = re.compile(r"//169\.254\.169\.254/|NoAuthWithAWSException")
"""Where a client looks for credentials that nobody gave to it."""
REFUSED = ("400", "401", "403")


def of_a_store(text: str) -> DualpathError | None:
    """The error of the store that a text quotes; None if it quotes none.

    >>> of_a_store("Error performing PUT http://s3/b/a in 2ms, after 10 retries - HTTP error: error sending request")
    UnavailableError('The object store does not answer; when it does, run this again: it goes on where it was.')
    >>> of_a_store("[Errno 28] No space left on device")
    """
    if not CLIENTS.search(text):
        return None
    status, code = STATUS.search(text), CODE.search(text)
    said = code[1] if code else status[1] if status else ""
    if said == "NoSuchBucket":
        return InputError("The object store has no such bucket; make it, or correct `offline_store.path`.")
    if NOBODY.search(text):
        said = "none are given"
    elif not status or status[1] not in REFUSED:
        what = f"does not answer ({said})" if said else "does not answer"
        return UnavailableError(f"The object store {what}; when it does, run this again: it goes on where it was.")
    return UnavailableError(
        f"The object store refuses the credentials ({said}); give others (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, "
        "AWS_SESSION_TOKEN), that may read and write the data, then run this again: it goes on where it was."
    )
