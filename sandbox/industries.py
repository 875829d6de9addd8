"""Fifteen industries: what their companies are called, do, run on and hire for."""

from dataclasses import dataclass
from typing import Final

from sandbox.records import Technology


@dataclass(frozen=True, slots=True)
class Trade:
    nouns: tuple[str, ...]  # the second word of a company's name
    does: str  # what a company so called does; its name goes before it


@dataclass(frozen=True, slots=True)
class Industry:
    name: str
    trades: tuple[Trade, ...]
    keywords: tuple[str, ...]
    technologies: tuple[str, ...]  # uids beyond the common ones
    launches: tuple[str, ...]  # what such a company would announce
    roles: tuple[str, ...]  # whom it hires, and the titles of its own trade
    trade: str  # the department that most of its people sit in
    revenue_per_head: int  # thousands of US dollars a year
    venture: float  # the share that has raised money
    neighbours: tuple[str, ...]  # industries that a company may also count itself to


def _split(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(";"))


def _trades(text: str) -> tuple[Trade, ...]:
    """`Noun, Noun: does this; Noun: does that`."""
    pairs = (part.split(":") for part in _split(text))
    return tuple(
        Trade(tuple(noun.strip() for noun in nouns.split(",")), does.strip()) for nouns, does in pairs
    )


TECHNOLOGIES: Final = {
    uid: Technology(uid, name, category)
    for uid, name, category in (
        ("google_analytics", "Google Analytics", "Analytics and Tracking"),
        ("google_tag_manager", "Google Tag Manager", "Tag Management"),
        ("microsoft_office_365", "Microsoft Office 365", "Other"),
        ("gmail", "Gmail", "Email Providers"),
        ("google_apps", "Google Apps", "Other"),
        ("slack", "Slack", "Collaboration"),
        ("zoom", "Zoom", "Collaboration"),
        ("salesforce", "Salesforce", "Customer Relationship Management"),
        ("hubspot", "HubSpot", "Marketing Automation"),
        ("pipedrive", "Pipedrive", "Customer Relationship Management"),
        ("zendesk", "Zendesk", "Support and Feedback"),
        ("intercom", "Intercom", "Support and Feedback"),
        ("mailchimp", "Mailchimp", "Email Marketing"),
        ("amazon_aws", "Amazon AWS", "Hosting"),
        ("microsoft_azure", "Microsoft Azure", "Hosting"),
        ("google_cloud", "Google Cloud", "Hosting"),
        ("cloudflare", "Cloudflare", "Content Delivery Networks"),
        ("kubernetes", "Kubernetes", "Load Balancers"),
        ("snowflake", "Snowflake", "Data Warehouse"),
        ("tableau", "Tableau", "Business Intelligence"),
        ("python", "Python", "Frameworks and Programming Languages"),
        ("react", "React", "Frameworks and Programming Languages"),
        ("github", "GitHub", "Software Development"),
        ("jira", "Atlassian Jira", "Project Management"),
        ("sap", "SAP", "Enterprise Resource Planning"),
        ("oracle_netsuite", "Oracle NetSuite", "Enterprise Resource Planning"),
        ("microsoft_dynamics", "Microsoft Dynamics", "Enterprise Resource Planning"),
        ("workday", "Workday", "Human Resources"),
        ("bamboohr", "BambooHR", "Human Resources"),
        ("shopify", "Shopify", "E-commerce Platforms"),
        ("woocommerce", "WooCommerce", "E-commerce Platforms"),
        ("stripe", "Stripe", "Payments"),
        ("adyen", "Adyen", "Payments"),
        ("klaviyo", "Klaviyo", "Email Marketing"),
        ("autocad", "AutoCAD", "Computer-Aided Design"),
        ("procore", "Procore", "Construction Management"),
        ("epic", "Epic", "Health Records"),
        ("veeva", "Veeva", "Life Sciences"),
        ("moodle", "Moodle", "Learning Management"),
        ("guidewire", "Guidewire", "Insurance Platforms"),
        ("wordpress_org", "WordPress.org", "Content Management Systems"),
        ("project44", "project44", "Supply Chain Visibility"),
        ("siemens_plm", "Siemens PLM", "Product Lifecycle Management"),
    )
}
COMMON_TECHNOLOGIES: Final = _split(
    "google_analytics;google_tag_manager;microsoft_office_365;gmail;slack;zoom;salesforce;hubspot;cloudflare;"
    "amazon_aws;microsoft_azure;wordpress_org;zendesk;jira"
)

INDUSTRIES: Final = (
    Industry(
        "logistics & supply chain",
        _trades(
            "Logistics, Supply, Transport: runs refrigerated transport and warehousing for food producers;"
            "Freight, Cargo, Logistics: moves part-load freight between regional hubs for manufacturers;"
            "Logistics, Transport: handles last-mile delivery and returns for online shops;"
            "Forwarding, Freight: plans sea and air freight for importers of industrial parts"
        ),
        _split(
            "freight forwarding;warehousing;last mile delivery;fleet management;cold chain;customs brokerage;"
            "route planning;third-party logistics"
        ),
        _split("sap;project44;microsoft_dynamics;tableau"),
        _split("a same-day delivery service;live shipment tracking for its customers;a bonded warehouse"),
        _split("Fleet Planner;Warehouse Supervisor;Customs Specialist;Transport Coordinator"),
        "operations",
        210,
        0.12,
        _split("transportation;retail"),
    ),
    Industry(
        "computer software",
        _trades(
            "Software, Systems, Works: builds scheduling software for field service teams;"
            "Software, Apps, Labs: makes a planning tool for mid-sized finance departments;"
            "Cloud, Labs: offers a data catalogue for companies with many small databases;"
            "Software, Systems, Apps: develops contract management software for legal teams"
        ),
        _split(
            "saas;b2b software;workflow automation;api platform;cloud computing;data integration;"
            "product-led growth;developer tools"
        ),
        _split("python;react;github;kubernetes;snowflake;google_cloud;intercom;stripe"),
        _split(
            "an open API for its partners;a mobile version of its main product;"
            "a self-service plan for small teams"
        ),
        _split("Backend Engineer;Product Designer;Data Engineer;Site Reliability Engineer"),
        "engineering",
        180,
        0.6,
        _split("information technology & services;internet"),
    ),
    Industry(
        "information technology & services",
        _trades(
            "IT Services, Managed Services: manages networks and workplaces for mid-sized companies;"
            "Consulting, Digital, Technologies: moves older business systems to the cloud;"
            "Networks, Managed Services: runs a round-the-clock security desk for public bodies;"
            "IT Services, Networks: staffs and supports data centres for regional banks"
        ),
        _split(
            "managed services;cloud migration;cyber security;it consulting;help desk;network operations;"
            "system integration"
        ),
        _split("kubernetes;github;python;microsoft_dynamics;google_cloud"),
        _split("a security check for small firms;a round-the-clock service desk;a cloud cost review"),
        _split("Cloud Engineer;Security Analyst;Service Desk Lead;Solutions Architect"),
        "engineering",
        150,
        0.2,
        _split("computer software;telecommunications"),
    ),
    Industry(
        "financial services",
        _trades(
            "Credit, Capital, Finance: lends working capital to small exporters;"
            "Payments: processes card payments for independent shops;"
            "Wealth, Capital: manages pension money for craft businesses;"
            "Finance, Treasury, Credit: provides invoice financing for wholesalers"
        ),
        _split(
            "fintech;payments;lending;asset management;compliance;risk management;"
            "invoice financing;open banking"
        ),
        _split("snowflake;tableau;python;workday;stripe;adyen"),
        _split("instant payouts for merchants;a credit line for first-time exporters;a client portal"),
        _split("Risk Analyst;Compliance Officer;Credit Underwriter;Payments Product Owner"),
        "finance",
        320,
        0.38,
        _split("insurance;banking"),
    ),
    Industry(
        "hospital & health care",
        _trades(
            "Clinics, Health, Medical: runs outpatient clinics in mid-sized towns;"
            "Care, Health: provides home nursing and remote check-ups;"
            "Therapy, Wellness: operates physiotherapy centres with evening hours;"
            "Medical, Diagnostics: offers diagnostic imaging for family doctors"
        ),
        _split(
            "outpatient care;telehealth;patient scheduling;home nursing;medical imaging;rehabilitation;"
            "electronic health records"
        ),
        _split("epic;workday;tableau;microsoft_dynamics"),
        _split(
            "online booking for all of its clinics;a telehealth service in the evenings;"
            "a rehabilitation programme"
        ),
        _split("Clinic Manager;Patient Coordinator;Radiographer;Nursing Lead"),
        "medical",
        120,
        0.15,
        _split("medical devices;individual & family services"),
    ),
    Industry(
        "retail",
        _trades(
            "Outfitters, Trading: sells outdoor clothing in its own shops and online;"
            "Stores, Goods, Market: runs neighbourhood stores for household goods;"
            "Home, Goods: sells refurbished furniture with home delivery;"
            "Market, Home: operates garden centres and a web shop"
        ),
        _split(
            "omnichannel retail;e-commerce;store operations;merchandising;customer loyalty;"
            "inventory planning;click and collect"
        ),
        _split("shopify;klaviyo;adyen;oracle_netsuite;mailchimp"),
        _split("a loyalty programme;click and collect in all of its shops;a repair service"),
        _split("Store Manager;E-commerce Manager;Category Buyer;Merchandise Planner"),
        "operations",
        190,
        0.14,
        _split("consumer goods;wholesale"),
    ),
    Industry(
        "machinery",
        _trades(
            "Machinery, Engineering: builds packaging machines for food and cosmetics makers;"
            "Automation, Motion: makes conveyor systems for parcel centres;"
            "Robotics, Automation: designs welding robots for small workshops;"
            "Tooling, Engineering: produces precision spindles for machine tools"
        ),
        _split(
            "industrial automation;packaging machines;robotics;spare parts;predictive maintenance;"
            "contract manufacturing;machine tools"
        ),
        _split("sap;autocad;siemens_plm;microsoft_dynamics"),
        _split("remote maintenance for its machines;a compact packaging line;a spare parts shop"),
        _split("Mechanical Design Engineer;Service Technician;Automation Engineer;Production Planner"),
        "engineering",
        230,
        0.08,
        _split("industrial automation;automotive"),
    ),
    Industry(
        "renewables & environment",
        _trades(
            "Solar, Energy, Renewables: plans and runs rooftop solar for commercial buildings;"
            "Wind, Renewables: develops community wind parks;"
            "Storage, Power: installs battery storage for farms and small factories;"
            "Power, Energy: operates charging points at supermarkets"
        ),
        _split(
            "solar energy;energy storage;wind power;ev charging;carbon accounting;grid services;"
            "power purchase agreements"
        ),
        _split("autocad;python;snowflake;oracle_netsuite"),
        _split("a rental plan for rooftop solar;battery storage for small factories;a monitoring app"),
        _split("Project Developer;Grid Engineer;Installation Lead;Energy Analyst"),
        "engineering",
        260,
        0.36,
        _split("utilities;construction"),
    ),
    Industry(
        "food & beverages",
        _trades(
            "Foods, Kitchen, Provisions: makes plant-based ready meals for supermarkets;"
            "Roasters: roasts coffee for offices and hotels;"
            "Bakery: bakes frozen pastries for cafés;"
            "Beverages, Provisions: bottles organic juices from regional fruit"
        ),
        _split(
            "food production;private label;organic food;food safety;wholesale distribution;"
            "sustainable packaging;plant-based"
        ),
        _split("oracle_netsuite;shopify;mailchimp;sap"),
        _split("a plant-based range;a subscription for offices;recyclable packaging"),
        _split("Quality Manager;Production Shift Lead;Key Account Buyer;Food Technologist"),
        "operations",
        240,
        0.16,
        _split("food production;retail"),
    ),
    Industry(
        "construction",
        _trades(
            "Timber, Builders, Construction: builds timber-frame housing for municipalities;"
            "Contracting, Builders: renovates office buildings while they stay in use;"
            "Civil, Structures, Construction: builds bridges and rail platforms;"
            "Structures, Contracting: prefabricates bathrooms for hotels and student housing"
        ),
        _split(
            "general contractor;timber construction;renovation;site management;prefabrication;infrastructure;"
            "building information modelling"
        ),
        _split("autocad;procore;microsoft_dynamics;sap"),
        _split("a prefabrication plant;a digital site diary;a fixed-price renovation offer"),
        _split("Site Manager;Estimator;Project Engineer;Health and Safety Lead"),
        "operations",
        280,
        0.05,
        _split("civil engineering;real estate"),
    ),
    Industry(
        "biotechnology",
        _trades(
            "Diagnostics, Bio: develops rapid tests for animal health;"
            "Proteins, Bio: makes enzymes that cut the water use of textile mills;"
            "Genomics, Therapeutics, Biosciences: runs a contract laboratory for early drug research;"
            "Biosciences, Proteins: develops cell culture media for food makers"
        ),
        _split(
            "life sciences;diagnostics;contract research;enzymes;clinical trials;"
            "laboratory automation;genomics"
        ),
        _split("veeva;python;snowflake;google_cloud"),
        _split("a second laboratory line;a rapid test for farms;an enzyme for cold washing"),
        _split("Research Scientist;Laboratory Manager;Regulatory Affairs Specialist;Bioinformatician"),
        "engineering",
        170,
        0.62,
        _split("pharmaceuticals;research"),
    ),
    Industry(
        "e-learning",
        _trades(
            "Academy, Skills: teaches trades online with local workshops;"
            "Learning, Skills: provides safety training for industrial sites;"
            "Education, Tutors, Campus: offers language courses for hospital staff;"
            "Learning, Campus, Tutors: builds exam preparation for vocational schools"
        ),
        _split(
            "online courses;corporate training;vocational education;learning management;certification;"
            "language learning;blended learning"
        ),
        _split("moodle;react;stripe;intercom;mailchimp"),
        _split("a course for apprentices;a certificate for site safety;an app for offline lessons"),
        _split("Course Designer;Learning Consultant;Community Manager;Instructional Video Producer"),
        "operations",
        110,
        0.34,
        _split("education management;computer software"),
    ),
    Industry(
        "insurance",
        _trades(
            "Cover, Insurance: insures small fleets and delivery riders;"
            "Underwriting, Mutual, Risk: underwrites crop and weather risks for growers;"
            "Insurance, Assurance, Cover: sells liability cover to freelancers through brokers;"
            "Assurance, Risk: handles claims for regional insurers"
        ),
        _split(
            "property insurance;claims handling;underwriting;broker network;"
            "insurtech;fleet insurance;actuarial"
        ),
        _split("guidewire;tableau;snowflake;workday"),
        _split("a monthly policy for delivery riders;claims by photo;a broker portal"),
        _split("Claims Handler;Actuarial Analyst;Broker Manager;Underwriter"),
        "finance",
        360,
        0.2,
        _split("financial services;information services"),
    ),
    Industry(
        "hospitality",
        _trades(
            "Hotels, Stays: runs small hotels near railway stations;"
            "Catering: caters for factories, schools and events;"
            "Stays, Hospitality: operates serviced apartments for project teams;"
            "Inns, Resorts, Hospitality: manages alpine and seaside inns for their owners"
        ),
        _split(
            "hotel management;event catering;serviced apartments;guest experience;revenue management;"
            "business travel"
        ),
        _split("adyen;mailchimp;oracle_netsuite;bamboohr"),
        _split("self check-in at all of its houses;a rate for project teams;a vegetarian canteen menu"),
        _split("Hotel Manager;Revenue Manager;Event Coordinator;Head Chef"),
        "operations",
        95,
        0.07,
        _split("leisure, travel & tourism;food & beverages"),
    ),
    Industry(
        "marketing & advertising",
        _trades(
            "Media, Communications: plans campaigns for regional brands;"
            "Studio, Creative: produces product films for industrial companies;"
            "Agency, Media: runs search and social advertising for online shops;"
            "Brand, Creative, Agency: designs brands for family businesses"
        ),
        _split(
            "digital marketing;branding;search advertising;content production;social media;lead generation;"
            "media planning"
        ),
        _split("hubspot;mailchimp;react;pipedrive;google_apps"),
        _split("a film studio;a fixed-price brand check;a reporting service for its clients"),
        _split("Media Planner;Art Director;Performance Marketing Manager;Account Director"),
        "marketing",
        130,
        0.08,
        _split("public relations & communications;media production"),
    ),
)
