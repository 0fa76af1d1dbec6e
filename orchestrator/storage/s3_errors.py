"""Translation of S3's error codes and boto3's exceptions into our errors."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from botocore import exceptions as boto_errors

from orchestrator.storage.remote_store import TransientStoreError
from prp_core.errors import (
    CorruptObject,
    ObjectChanged,
    ObjectExists,
    ObjectMissing,
    ObjectRefused,
    StoreError,
    UserError,
)

EXPIRED = {"ExpiredToken", "InvalidToken", "TokenRefreshRequired", "RequestExpired"}
THROTTLED = {
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "RequestLimitExceeded",
    "TooManyRequests",
    "ServiceUnavailable",
}
TRANSIENT = {
    "RequestTimeout",
    "InternalError",
    "OperationAborted",
    "ConditionalRequestConflict",
    "BadDigest",
    "IncompleteBody",
}
REMEDIES = {
    "NoSuchBucket": "there is no such bucket; check its name, the endpoint and the region",
    "InvalidBucketName": (
        "this is not a valid bucket name (3 to 63 lower-case letters, digits, dots and hyphens)"
    ),
    "AccessDenied": (
        "access denied; check the credentials, which need s3:ListBucket, s3:GetObject and, "
        "to write, s3:PutObject"
    ),
    "InvalidAccessKeyId": (
        "the store does not know this access key; check AWS_ACCESS_KEY_ID or the profile, "
        "and the endpoint"
    ),
    "SignatureDoesNotMatch": (
        "the secret key does not belong to the access key; check AWS_SECRET_ACCESS_KEY or "
        "the profile"
    ),
    "RequestTimeTooSkewed": "the clock of this machine is wrong by minutes; set it",
    "PermanentRedirect": "the bucket lies in another region; set store.region or AWS_REGION",
    "AuthorizationHeaderMalformed": (
        "the request was signed for another region than the bucket's; set store.region or "
        "AWS_REGION"
    ),
    "InvalidObjectState": "the object is archived; restore it from Glacier first",
    "EntityTooLarge": "S3 takes at most 5 GiB in one piece",
}
REFUSED = {"AccessDenied", "InvalidObjectState"}
LOST_CONNECTIONS = (
    boto_errors.ConnectionError,  # among them: timeouts, proxies
    boto_errors.HTTPClientError,  # among them: resets
    boto_errors.ResponseStreamingError,
    boto_errors.IncompleteReadError,
    boto_errors.CredentialRetrievalError,
    boto_errors.MetadataRetrievalError,
    OSError,  # what urllib3 lets through of a reset
)
NO_CREDENTIALS = (
    boto_errors.NoCredentialsError,
    boto_errors.PartialCredentialsError,
    boto_errors.ProfileNotFound,
    boto_errors.SSOError,
    boto_errors.TokenRetrievalError,
    boto_errors.NoAuthTokenError,
)


@contextlib.contextmanager
def translated_errors(
    what: str, *, etag: str | None = None, condition: Mapping[str, str] | None = None
) -> Iterator[None]:
    """Translate boto3's exceptions into our errors, which name the requested URI `what`.

    `etag` is that of the object whose body is being read, `condition` that of a write.
    """
    try:
        yield
    except boto_errors.ClientError as error:
        raise explanation(error, what, condition) from error
    except NO_CREDENTIALS as error:
        how = (
            "log in (aws configure, aws sso login), set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, or give the machine a role"
        )
        raise UserError(
            f"{what}: no usable credentials ({type(error).__name__}: {error}); {how}"
        ) from error
    except boto_errors.SSLError as error:
        if "CERTIFICATE_VERIFY_FAILED" not in str(error):
            raise TransientStoreError(f"{what}: {error}", etag=etag) from error
        raise UserError(
            f"{what}: no trusted connection ({error}); set AWS_CA_BUNDLE to the "
            "store's certificate authority"
        ) from error
    except (boto_errors.ChecksumError, boto_errors.FlexibleChecksumError) as error:
        raise CorruptObject(f"{what}: {error}") from error
    except boto_errors.EndpointConnectionError as error:
        server = urlsplit(error.kwargs.get("endpoint_url", ""))
        raise TransientStoreError(
            f"{what}: no connection to {server.scheme}://{server.netloc}"
        ) from error
    except boto_errors.ConnectionClosedError as error:
        raise TransientStoreError(f"{what}: the store closed the connection", etag=etag) from error
    except LOST_CONNECTIONS as error:
        raise TransientStoreError(f"{what}: {error}", etag=etag) from error
    except RuntimeError as error:  # of botocore, when whoever renews credentials gave out old ones
        if "expired" not in str(error):
            raise
        raise TransientStoreError(
            f"{what}: the credentials have expired and were not renewed in time",
            cause="credentials",
            etag=etag,
        ) from error
    except boto_errors.BotoCoreError as error:
        raise UserError(
            f"{what}: {error}; check the store's settings and the AWS environment"
        ) from error


def explanation(
    error: boto_errors.ClientError, what: str, condition: Mapping[str, str] | None
) -> Exception:
    """Our error for an error answer of the store, as a pure function."""
    code = error.response["Error"].get("Code", "")
    status = error.response["ResponseMetadata"].get("HTTPStatusCode", 0)
    if code in EXPIRED:
        return TransientStoreError(
            f"{what}: the credentials have expired ({code})", cause="credentials"
        )
    if code in THROTTLED or status in (429, 503):
        return TransientStoreError(
            f"{what}: the store throttles requests ({status} {code})", cause="throttled"
        )
    if status == 501:
        return StoreError(f"{what}: the store answered {status} {code}")
    if code in TRANSIENT or status == 408 or status >= 500:
        return TransientStoreError(f"{what}: {status} {code}")
    if code in REFUSED or code.startswith("KMS."):
        return ObjectRefused(f"{what}: {REMEDIES.get(code, 'its key does not open it')} ({code})")
    if code in REMEDIES:
        return UserError(f"{what}: {REMEDIES[code]} ({code})")
    if status in (404, 412) and condition is not None and "IfMatch" in condition:
        return ObjectChanged(f"{what} is no longer {condition['IfMatch']}")
    if status == 404:
        return ObjectMissing(f"{what}: no such object")
    if status == 412:
        return (
            ObjectChanged(f"{what} has changed since it was listed; index it again")
            if condition is None
            else ObjectExists(f"{what} is there already")
        )
    if status == 403:
        return ObjectRefused(f"{what}: {REMEDIES['AccessDenied']} ({code})")
    return StoreError(f"{what}: the store answered {status} {code}")
