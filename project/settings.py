"""Settings of the shipped site. Everything that differs between machines comes from the environment."""

from pathlib import Path

import environ

env = environ.Env()

BASE_DIR = Path(__file__).resolve().parent.parent
# Database, uploads, the generated secret and the login live here; two copies with two folders run side by side.
DATA_DIR = Path(env.str("DATA_DIR", default="") or BASE_DIR / "var").resolve()
DATA_DIR.mkdir(parents=True, exist_ok=True)
# While `make run` runs it says here where its Redis is, so that manage.py in a second terminal finds it.
if (DATA_DIR / "run.env").is_file():
    env.read_env(DATA_DIR / "run.env")

DEBUG = env.bool("DEBUG", default=False)
# `make run` keeps a generated key in DATA_DIR and passes it on; a deployment sets its own.
SECRET_KEY = env.str("SECRET_KEY", default="only-for-checks-and-tests-" + "0" * 32)
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])

# Browsers speak HTTPS to a proxy that sets X-Forwarded-Proto itself, as nginx.conf beside this file does.
HTTPS = env.bool("HTTPS", default=False)
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if HTTPS else None
SECURE_SSL_REDIRECT = SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
SECURE_REDIRECT_EXEMPT = [r"^(progress/)?(healthz|readyz)$"]  # asked from inside, by health checks
# Browsers remember it and cannot be told otherwise, so it is chosen: 31536000 (a year) when all is well.
SECURE_HSTS_SECONDS = env.int("HSTS_SECONDS", default=0)
CSRF_COOKIE_HTTPONLY = True  # no script of ours reads it; forms carry the token
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"

INSTALLED_APPS = [
    "daphne",  # before staticfiles: its runserver serves WebSockets
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "progress",
    "tasks",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "project.middleware.policies",
    "servestatic.middleware.ServeStaticMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "progress.middleware.OwnerMiddleware",
]

ROOT_URLCONF = "project.urls"
ASGI_APPLICATION = "project.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

DATABASES = {"default": env.db("DATABASE_URL", default=f"sqlite:///{DATA_DIR / 'db.sqlite3'}")}
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    # The web process and every worker write to one file: wait for each other instead of failing.
    DATABASES["default"]["OPTIONS"] = {
        "timeout": 20,  # seconds
        "transaction_mode": "IMMEDIATE",
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
    }
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator")
]
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "home"
LOGOUT_REDIRECT_URL = "login"

LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("de", "Deutsch"), ("zh-hans", "简体中文")]
LOCALE_PATHS = [BASE_DIR / "locale"]
TIME_ZONE = "UTC"
USE_TZ = True

STATIC_URL = "static/"
STATIC_ROOT = DATA_DIR / "static"
SERVESTATIC_USE_FINDERS = True  # no collectstatic step between a clone and a running page
MEDIA_ROOT = DATA_DIR / "media"
# An upload of this many bytes (1 GB) is refused by the form; larger files belong on a file transfer.
UPLOAD_MAX_BYTES = env.int("UPLOAD_MAX_BYTES", default=1_000_000_000)
# Exports. No web server serves this folder; a view gives each file to its owner alone.
PRIVATE_ROOT = DATA_DIR / "private"
# The job "tail_log" reads below this folder and nowhere else. `make run` writes the logs of its programs here.
TAIL_LOG_FOLDER = Path(env.str("TAIL_LOG_FOLDER", default="") or DATA_DIR / "log")

REDIS_URL = env.str("REDIS_URL", default="redis://127.0.0.1:6379/0")
PROGRESS_PREFIX = env.str("PROGRESS_PREFIX", default="progress")
PROGRESS_RETENTION = 24 * 3600  # seconds; exported files are kept as long as the runs that made them
# A dead event loop cannot be mended from inside. Only where something starts the process again: compose.yaml.
PROGRESS_EXIT_WHEN_DEAF = env.bool("PROGRESS_EXIT_WHEN_DEAF", default=False)

# How many connections one user may have; 0 is no limit. See docs/security.md.
PROGRESS_MAX_CONNECTIONS = env.int("PROGRESS_MAX_CONNECTIONS", default=20)
PROGRESS_MAX_JOINS = env.int("PROGRESS_MAX_JOINS", default=60)
PROGRESS_MAX_CONNECTIONS_PER_ADDRESS = env.int("PROGRESS_MAX_CONNECTIONS_PER_ADDRESS", default=100)
PROGRESS_TRUSTED_PROXIES = env.list("PROGRESS_TRUSTED_PROXIES", default=[])

CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {
            # Keepalive off: with it, a half-open link ends in a receive loop of the layer that never yields.
            # A dead link is noticed without the kernel's help.
            "hosts": [{"address": REDIS_URL, "socket_keepalive": False}],
            "prefix": PROGRESS_PREFIX,
        },
    }
}

CELERY_BROKER_URL = REDIS_URL
CELERY_RESULT_BACKEND = REDIS_URL  # chords need one; progress does not
CELERY_TASK_DEFAULT_QUEUE = env.str("CELERY_QUEUE", default="celery")
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_WORKER_PROC_ALIVE_TIMEOUT = 30  # seconds; a first start on a busy machine takes longer than the 4 s default

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": env.str("LOG_LEVEL", default="INFO")},
}
