FROM python:3.11-slim

ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PIP_NO_CACHE_DIR=1 \
    VAR_DIR=/app/var

WORKDIR /app

COPY requirements.txt constraints.txt ./
RUN pip install --disable-pip-version-check -r requirements.txt

COPY . .
# Static files are part of the image. The values are for this step only and are not kept.
RUN SECRET_KEY=for-collectstatic SOUNDCHARTS_APP_ID=none SOUNDCHARTS_API_KEY=none \
    python manage.py collectstatic --noinput \
    && useradd --system --no-create-home liner-notes \
    && chown -R liner-notes /app/var

USER liner-notes
EXPOSE 8000
CMD ["gunicorn", "config.wsgi", "--bind", "0.0.0.0:8000", "--workers", "2", "--threads", "4", "--graceful-timeout", "70", "--access-logfile", "-"]
