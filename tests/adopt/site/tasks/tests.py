import logging
import uuid

from channels.testing import WebsocketCommunicator
from django.contrib.auth import get_user_model
from django.test import TestCase, TransactionTestCase
from rest_framework.test import APIClient

from .models import Task


class ItemsTest(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.user = get_user_model().objects.create_user("ann", password="x", id=uuid.uuid4())

    def setUp(self):
        self.client = APIClient()
        self.client.force_authenticate(self.user)

    def test_an_item_is_made_and_somebody_is_notified(self):
        for number in range(40):
            with self.assertNumQueries(3):  # savepoint, insert, release
                answer = self.client.post("/api/items/", {"title": f"Item {number}"})
            assert answer.status_code == 201
        assert Task.objects.count() == 40

    def test_items_are_listed(self):
        Task.objects.bulk_create(Task(title=f"Item {number}", owner=self.user) for number in range(40))
        for _ in range(10):
            with self.assertNumQueries(3):
                assert len(self.client.get("/api/items/").json()) == 40

    def test_a_wish_that_fails_leaves_nothing(self):
        self.client.raise_request_exception = False
        assert self.client.post("/api/items/", {}).status_code == 500
        assert Task.objects.count() == 0

    def test_exports_start_when_the_transaction_is_through(self):
        with self.captureOnCommitCallbacks(execute=True), self.assertNoLogs(level=logging.INFO):
            answer = self.client.post("/api/exports/", {"rows": 500}, format="json")
        assert answer.status_code == 202


class PagesTest(TestCase):
    def test_pages_are_shown_in_both_languages(self):
        for language in ("en", "de"):
            answer = self.client.get(f"/{language}/")
            self.assertContains(answer, f'lang="{language}"')

    def test_an_export_is_started_from_a_page(self):
        self.client.force_login(get_user_model().objects.create_user("bob"))
        answer = self.client.post("/en/exports/", {"rows": 3}, follow=True)
        self.assertContains(answer, "<h1>Export</h1>")


class ChatTest(TransactionTestCase):
    async def test_what_is_said_is_heard(self):
        from shop.asgi import application

        communicator = WebsocketCommunicator(application, "/ws/chat/lobby/")
        assert (await communicator.connect())[0]
        await communicator.send_json_to({"text": "hello"})
        assert await communicator.receive_json_from() == {"text": "hello"}
        await communicator.disconnect()
