"""Which faults of a store pass by themselves, and which are a wrong setting: Airflow tries only the first again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError
from azure.identity import CredentialUnavailableError
from botocore.exceptions import ClientError, CredentialRetrievalError, MetadataRetrievalError
from deltalake.exceptions import DeltaError

from avlake.errors import RequestError, WorkError
from avlake.storage import open_store
from avlake.store_errors import explain

S3, AZURE = "s3://lake/x", "abfss://c@a.dfs.core.windows.net/x"
IMDS = "http://169.254.169.254/latest/api/token"
KEYS = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}


class Answer(BaseHTTPRequestHandler):
    """The status that is the path's second part, with no body: `/lake/503`."""

    def answer(self) -> None:
        self.send_response(int(self.path.split("?")[0].split("/")[2]))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass

    do_GET = do_HEAD = do_PUT = answer


@pytest.fixture
def endpoint() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("status", [429, 500, 503, 504])
def test_a_busy_store_is_told_by_its_status_alone(endpoint: str, status: int) -> None:
    store = open_store(f"s3://lake/{status}", KEYS | {"AWS_ENDPOINT_URL": endpoint}).hasty()
    with pytest.raises(WorkError, match=f"{endpoint} is away or busy .HTTP {status}.; try again"), store.explained():
        store.fs.info(store.path("name"))


def s3(code: str, status: int) -> ClientError:
    return ClientError({"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}, "PutObject")


PASSING = [
    (S3, s3("503", 503), "busy"),
    (S3, s3("XMinioServerNotInitialized", 503), "busy"),
    (S3, s3("Throttling", 400), "busy"),
    (S3, s3("TooManyRequestsException", 429), "busy"),
    (S3, s3("RequestTimeout", 400), "busy"),
    (S3, s3("OperationAborted", 409), "busy"),
    (S3, DeltaError("Server returned non-2xx status code: 429 Too Many Requests: "), "busy"),
    (AZURE, HttpResponseError("Operation returned an invalid status 'Too Many Requests'"), "busy"),
    (S3, DeltaError(f"Error performing PUT {IMDS} in 5s - HTTP error: error sending request"), "AWS_ACCESS_KEY_ID"),
    (S3, CredentialRetrievalError(provider="assume-role", error_msg="timed out"), "AWS_ACCESS_KEY_ID"),
    (S3, MetadataRetrievalError(error_msg="Received non 200 response 500"), "AWS_ACCESS_KEY_ID"),
    (AZURE, CredentialUnavailableError("no response from the IMDS endpoint."), "AZURE_CLIENT_ID"),
    (AZURE, ClientAuthenticationError("AADSTS90033: A transient error has occurred."), "AZURE_CLIENT_ID"),
]
WRONG = [
    (S3, s3("InvalidAccessKeyId", 403), "AWS_ACCESS_KEY_ID"),
    (S3, CredentialRetrievalError(provider="assume-role", error_msg="AccessDenied"), "AWS_ACCESS_KEY_ID"),
    (AZURE, ClientAuthenticationError("AADSTS7000215: Invalid client secret provided."), "AZURE_CLIENT_SECRET"),
    (AZURE, ClientAuthenticationError("unauthorized_client: AADSTS700016"), "AZURE_CLIENT_ID"),
    (AZURE, DeltaError('token request: 401 Unauthorized: {"error":"invalid_client"}'), "AZURE_CLIENT_SECRET"),
    (AZURE, ClientAuthenticationError("ErrorCode:AuthenticationFailed"), "AZURE_STORAGE_ACCOUNT_KEY"),
]


@pytest.mark.parametrize(("uri", "error", "word"), PASSING)
def test_what_passes_by_itself_is_work_to_try_again(uri: str, error: Exception, word: str) -> None:
    told = explain(error, uri)
    assert isinstance(told, WorkError) and word in str(told) and "try again" in str(told)


@pytest.mark.parametrize(("uri", "error", "word"), WRONG)
def test_a_wrong_setting_stays_one(uri: str, error: Exception, word: str) -> None:
    told = explain(error, uri)
    assert isinstance(told, RequestError) and word in str(told)


def test_a_request_that_the_store_does_not_know_is_not_tried_again() -> None:
    assert explain(s3("NotImplemented", 501), S3) is None


@pytest.mark.parametrize("uri", ["s3://key:word@lake/x", "gs://lake/x"])
def test_a_uri_is_called_what_the_user_gave(uri: str) -> None:
    with pytest.raises(RequestError, match="--to is a") as told:
        open_store(uri, setting="--to")
    assert "AVLAKE_URI" not in str(told.value)
    assert "correct --to" in str(explain(s3("NoSuchBucket", 404), S3, setting="--to"))
