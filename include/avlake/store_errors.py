"""What a store's exception means for the person who set it up: one line that names the setting and the next step.

Clouds say the same thing in many ways: botocore and azure-core raise types and codes, deltalake's Rust code only text,
a folder errno. A message is made of our words and the code alone, for the rest may hold a signed URL or a token.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from avlake.errors import AvlakeError, RequestError, WorkError

LIBRARIES = {"botocore", "aiobotocore", "azure", "deltalake", "_internal", "aiohttp", "binascii"}
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
AIRFLOW = "in Airflow, the connection avlake_store"
CREDENTIALS = {
    "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, with AWS_SESSION_TOKEN if they are temporary",
    "azure": "set AZURE_STORAGE_ACCOUNT_KEY, or AZURE_CLIENT_ID, AZURE_TENANT_ID and AZURE_CLIENT_SECRET, "
    "or run under a managed identity",
}
ENDPOINT = {"s3": "AWS_ENDPOINT_URL and AWS_REGION", "azure": "AZURE_STORAGE_ENDPOINT and the account in its URI"}
# The first that matches counts, so what is exact stands before what is general.
MISSING = re.compile(r"NoSuchBucket|ContainerNotFound|FilesystemNotFound|InvalidBucketName|InvalidResourceName")
REGION = re.compile(r"PermanentRedirect|AuthorizationHeaderMalformed|IllegalLocationConstraint")
CLOCK = re.compile(r"RequestTimeTooSkewed")
REFUSED = re.compile(
    r"InvalidAccessKeyId|SignatureDoesNotMatch|InvalidToken|ExpiredToken|NoCredentialsError|PartialCredentialsError"
    r"|AuthenticationFailed|AuthorizationFailure|InvalidAuthenticationInfo|AzureSigningError|Invalid Access Key"
    r"|invalid_client|unauthorized_client|invalid_request|invalid_grant|AADSTS700\d+|AADSTS90002|Identity not found"
    r"|KeyBasedAuthenticationNotPermitted|NoAuthenticationInformation|401 Unauthorized|unable to connect to account"
)
# What gives credentials has not answered, or not to the point: it may be away, and there may be no identity at all.
UNIDENTIFIED = re.compile(
    r"169\.254\.169\.254|IMDS endpoint|AADSTS\d+|CredentialUnavailableError|ClientAuthenticationError"
    r"|CredentialRetrievalError|MetadataRetrievalError"
)
DENIED = re.compile(r"AccessDenied|AllAccessDisabled|AuthorizationPermissionMismatch|403 Forbidden|PermissionError")
NO_ROOM = re.compile(
    r"No space left on device|File too large|Disk quota exceeded|StorageFull|InsufficientStorage|QuotaExceeded"
)
UNTRUSTED = re.compile(r"CERTIFICATE_VERIFY_FAILED|invalid peer certificate|SSLError|SSLCertVerificationError")
AWAY = re.compile(
    r"EndpointConnectionError|ConnectTimeoutError|ReadTimeoutError|ConnectionClosedError|HTTPClientError"
    r"|ClientConnectorError|ServiceRequest\w*Error|ServiceResponse\w*Error|IncompleteReadError|TimeoutError"
    r"|ConnectionRefusedError|ConnectionResetError|error sending request|HTTP error|operation timed out"
)
BUSY = re.compile(
    r"InternalError|ServerBusy|ServiceUnavailable|SlowDown|OperationTimedOut|OperationAborted|RequestTimeout"
    r"|ServerNotInitialized|Throttl\w+|Too ?Many ?Requests\w*|RequestLimitExceeded|(?:408|429|50[0234]) [A-Z]\w+"
)
TAKEN = re.compile(
    r"PreconditionFailed|ConditionalRequestConflict|BlobAlreadyExists|ResourceExistsError|\(412\)|\(409\)"
)
PLAIN = {
    "ConnectionRefusedError": "connection refused",
    "gaierror": "no such host",
    "ConnectTimeoutError": "no answer to a connection",
    "TimeoutError": "no answer to a connection",
}


def explain(
    error: BaseException, uri: str, endpoint: str | None = None, setting: str = "AVLAKE_URI"
) -> AvlakeError | None:
    """A wrong setting becomes a RequestError, a store that is away or full a WorkError; None where neither fits.

    A missing file, a name that exists and a lost commit are not explained: callers know what they mean. `setting` is
    where the URI was given.
    """
    if isinstance(error, AvlakeError | FileExistsError):
        return None
    if not isinstance(error, OSError) and type(error).__module__.split(".")[0] not in LIBRARIES:
        return None
    cloud = {"s3": "s3", "s3a": "s3", "abfs": "azure", "abfss": "azure", "az": "azure"}.get(urlsplit(uri).scheme)
    return _of_a_cloud(error, uri, cloud, endpoint, setting) if cloud else _of_a_folder(error, uri, setting)


@contextmanager
def explained(path: str, setting: str) -> Iterator[None]:
    """The same for a place on this machine's disk that another setting or option names, DuckDB's errors included."""
    try:
        yield
    except AvlakeError:
        raise
    except Exception as error:
        if told := _of_a_folder(error, path, setting):
            raise told from error
        raise


def is_taken(error: BaseException) -> bool:
    """Did a conditional create find the name taken, or lose a race for it (S3's 409)?"""
    if isinstance(error, FileExistsError):
        return True
    return any(TAKEN.search(f"{type(link).__name__} {link}") for link in _chain(error))


def _of_a_folder(error: BaseException, uri: str, setting: str) -> AvlakeError | None:
    if isinstance(error, NotADirectoryError | FileExistsError):
        return RequestError(f"{uri}: a part of this path is a file, not a folder; correct {setting}")
    number = _errno(error)
    if number in FULL or NO_ROOM.search(str(error)):
        return _full(uri, setting)
    if number in FORBIDDEN:
        what = "the file system is read-only" if number == errno.EROFS else "permission denied"
        return RequestError(f"{uri}: {what}; give this user the right to write there, or move {setting}")
    return None


def _of_a_cloud(error: BaseException, uri: str, cloud: str, endpoint: str | None, setting: str) -> AvlakeError | None:
    text = "\n".join(f"{type(link).__name__} {link}" for link in _chain(error))
    container, where = ("bucket", "s3") if cloud == "s3" else ("container", "azure")
    if found := MISSING.search(text):
        return RequestError(f"{uri}: no such {container} ({found[0]}); create it, or correct {setting}")
    if isinstance(error, FileNotFoundError):
        return None
    if found := REGION.search(text):
        return RequestError(f"{uri}: the bucket is in another region ({found[0]}); set AWS_REGION to its own")
    if found := CLOCK.search(text):
        return WorkError(f"{uri}: this machine's clock is wrong ({found[0]}); set it, and run again")
    if found := REFUSED.search(text):
        code = "none found" if found[0] == "NoCredentialsError" else found[0]
        return RequestError(f"{uri}: the store refuses these credentials ({code}); {CREDENTIALS[where]} ({AIRFLOW})")
    if _errno(error) in FULL or NO_ROOM.search(text):
        return _full(uri, setting)
    if found := DENIED.search(text):
        return RequestError(
            f"{uri}: the store does not allow this ({found[0]}); let these credentials read, write, list and delete "
            f"there, or {CREDENTIALS[where]} ({AIRFLOW})"
        )
    if UNTRUSTED.search(text):
        return RequestError(
            f"{uri}: {_shown(endpoint)} has a certificate that this machine does not trust, or speaks plain http; "
            f"correct {ENDPOINT[where]}, or name its authority's file in SSL_CERT_FILE"
        )
    if found := UNIDENTIFIED.search(text):
        return WorkError(
            f"{uri}: no credentials were found, or what gives them is away ({found[0]}); try again, or "
            f"{CREDENTIALS[where]} ({AIRFLOW})"
        )
    if found := AWAY.search(text):
        why = next((plain for name, plain in PLAIN.items() if name in text), found[0])
        return WorkError(
            f"{uri}: cannot reach the store at {_shown(endpoint)} ({why}); see that it runs and that "
            f"{ENDPOINT[where]} are right, then run again"
        )
    if busy := _status(error) or ((found := BUSY.search(text)) and found[0]):
        return WorkError(f"{uri}: the store at {_shown(endpoint)} is away or busy ({busy}); try again in a minute")
    return None


def _full(uri: str, setting: str) -> WorkError:
    return WorkError(f"{uri}: no room left to write; free some, raise the limit, or move {setting}, then run again")


def _status(error: BaseException) -> str | None:
    """The HTTP status that asks to try again later: all there is in the answer to a HEAD."""
    for link in _chain(error):
        answer = getattr(link, "response", None)
        of_s3 = answer.get("ResponseMetadata", {}).get("HTTPStatusCode") if isinstance(answer, dict) else None
        status = of_s3 or getattr(link, "status_code", None)
        # 501: it does not know this kind of request, and never will.
        if isinstance(status, int) and (status in (408, 429) or (status >= 500 and status != 501)):
            return f"HTTP {status}"
    return None


def _errno(error: BaseException) -> int | None:
    """The system's own number: of the exception, or as Rust and Arrow write it into their texts."""
    for link in _chain(error):
        if isinstance(link, OSError) and link.errno:
            return link.errno
        if found := re.search(r"\(os error (\d+)\)|\[errno (\d+)\]", str(link)):
            return int(found[1] or found[2])
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _shown(endpoint: str | None) -> str:
    parts = urlsplit(endpoint or "")
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}" if parts.netloc else "its cloud's own address"
