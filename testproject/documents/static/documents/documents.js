// What the page itself does once a batch has ended: it asks for what the same page says now.
document.addEventListener("django-jobs:finished", async (event) => {
    const outcomes = [...document.querySelectorAll(".outcome")];
    const outcome = event.target.parentElement.querySelector(".outcome");
    if (!event.detail.succeeded) {
        outcome.textContent = "It did not succeed. The people of the library can see why.";
        return;
    }
    const response = await fetch(window.location.href);
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    outcome.textContent = page.querySelectorAll(".outcome")[outcomes.indexOf(outcome)].textContent;
});
