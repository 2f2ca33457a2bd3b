"""The approval form of the Prefect UI, filled in by a person's means: headless Chromium."""

import shutil
from pathlib import Path

from playwright.sync_api import sync_playwright

ARGUMENTS = [
    "--no-sandbox",  # Tests may run as root.
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def answer_approval(url: str, decision: str, approver: str, comment: str, screenshot: Path) -> str:
    """Open a suspended run's page, fill in the form and submit it; return the text that the form showed."""
    browser_path = shutil.which("chromium")
    assert browser_path, "chromium is missing: `make test` installs it through apt"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1440, "height": 1300})
        page.goto(url)
        page.get_by_role("button", name="Resume").first.click()
        page.get_by_text("to PROD?").wait_for()
        text = page.get_by_role("dialog").inner_text()
        page.screenshot(path=screenshot)
        page.locator(".schema-input .p-select-button__control").press("ArrowDown")
        page.locator(".p-select-option", has_text=decision).click()
        boxes = page.locator(".schema-input textarea")
        boxes.nth(0).fill(approver)
        boxes.nth(1).fill(comment)
        page.get_by_role("button", name="Submit").click()
        page.get_by_text("to PROD?").wait_for(state="detached")
        browser.close()
    return text
