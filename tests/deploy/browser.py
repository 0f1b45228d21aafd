"""Chromium for the tests of the web pages, driven by Playwright; without one of them these tests are skipped."""

import os
import shutil
from contextlib import contextmanager

import pytest

CHROMIUM_NAMES = ('chromium', 'chromium-browser', 'google-chrome')
FAKE_CAMERA = ('--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream')


@contextmanager
def launch_browser():
    """Chromium with a fake camera; a test that uses it is skipped where Playwright or Chromium is not installed."""
    playwright = pytest.importorskip('playwright.sync_api', reason='needs playwright: pip install playwright')
    path = os.environ.get('POSEPLUG_CHROMIUM') or next(filter(None, map(shutil.which, CHROMIUM_NAMES)), None)
    if path is None:
        pytest.skip('needs Chromium: apt-get install chromium, or its path in POSEPLUG_CHROMIUM')
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=['--no-sandbox', *FAKE_CAMERA])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def open_page(browser, url):
    """A page, with the URLs of its requests and its errors; at the end there are no errors, and no other server."""
    context = browser.new_context(viewport={'width': 1360, 'height': 900}, permissions=['camera'])
    page = context.new_page()
    page.set_default_timeout(30_000)
    errors, urls = [], []
    page.on('pageerror', lambda error: errors.append(str(error)))
    page.on('console', lambda message: errors.append(message.text) if _is_error(message) else None)
    page.on('request', lambda request: urls.append(request.url))
    try:
        page.goto(url)
        yield page
    finally:
        context.close()
    origin = url.rpartition('/')[0]
    assert errors == []
    assert [each for each in urls if not each.startswith((f'{origin}/', 'data:', f'blob:{origin}/'))] == []


def _is_error(message):
    """Whether a message of the console is an error; that of a refused request is expected."""
    return message.type == 'error' and not message.text.startswith('Failed to load resource')
