// What the page itself does once a job has ended.
document.addEventListener("django-jobs:finished", (event) => {
    const { succeeded, result } = event.detail;
    const outcome = event.target.parentElement.querySelector(".outcome");
    outcome.textContent = succeeded
        ? `${result.documents} new, ${result.skipped} known already, ${result.unreadable} unreadable.`
        : "It did not succeed. The people of the library can see why.";
});
